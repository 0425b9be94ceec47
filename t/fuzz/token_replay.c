
/*
 * Copyright (C) Academy exchange authors
 */


/* runs the checks of the fuzzer with each file of a directory */


#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include "token_check.h"


int
main(int argc, char **argv)
{
    DIR                   *dir;
    FILE                  *file;
    size_t                 size;
    char                   path[4096];
    struct dirent         *entry;
    token_check_counts_t  *counts;

    static uint8_t         data[65536];

    dir = (argc == 2) ? opendir(argv[1]) : NULL;

    if (dir == NULL) {
        fprintf(stderr, "token_replay: it takes a directory\n");
        return 1;
    }

    while ((entry = readdir(dir)) != NULL) {

        if (entry->d_name[0] == '.') {
            continue;
        }

        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);

        file = fopen(path, "rb");

        if (file == NULL) {
            perror(path);
            return 1;
        }

        size = fread(data, 1, sizeof(data), file);
        fclose(file);

        token_check(data, size);
    }

    closedir(dir);

    counts = &token_check_counts;

    printf("token_replay: %zu inputs: %zu bearer tokens, %zu decoded, "
           "%zu good signatures, %zu accepted, %zu keys\n",
           counts->inputs, counts->bearers, counts->decoded,
           counts->signatures, counts->accepted, counts->keys);

    if (counts->bearers == 0 || counts->decoded == 0
        || counts->accepted == 0 || counts->keys == 0)
    {
        fprintf(stderr, "token_replay: the inputs check nothing\n");
        return 1;
    }

    return 0;
}
