
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * Runs the checks of the fuzzer with each file of the directories, and with
 * each file itself, that are given as arguments.  scan_check() aborts where
 * something differs; the counts show that there was something to check.
 */


#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "scan_check.h"


static int  replay(const char *path);
static int  replay_file(const char *path, size_t size);
static int  replay_directory(const char *path);


int
main(int argc, char **argv)
{
    int  i;

    for (i = 1; i < argc; i++) {
        if (replay(argv[i]) != 0) {
            return 1;
        }
    }

    printf("scan_replay: %zu inputs: %zu valid values, %zu bodies, "
           "%zu accepted messages, %zu entity ids\n",
           scan_check_counts.inputs, scan_check_counts.values,
           scan_check_counts.bodies, scan_check_counts.messages,
           scan_check_counts.entities);

    if (scan_check_counts.values == 0 || scan_check_counts.bodies == 0
        || scan_check_counts.messages == 0 || scan_check_counts.entities == 0)
    {
        fprintf(stderr, "scan_replay: the inputs check nothing\n");
        return 1;
    }

    return 0;
}


static int
replay(const char *path)
{
    struct stat  st;

    if (stat(path, &st) != 0) {
        fprintf(stderr, "scan_replay: %s: %s\n", path, strerror(errno));
        return 1;
    }

    return S_ISDIR(st.st_mode) ? replay_directory(path)
                               : replay_file(path, (size_t) st.st_size);
}


static int
replay_directory(const char *path)
{
    int             rc;
    DIR            *dir;
    char            name[4096];
    struct dirent  *de;

    dir = opendir(path);

    if (dir == NULL) {
        fprintf(stderr, "scan_replay: %s: %s\n", path, strerror(errno));
        return 1;
    }

    rc = 0;

    while (rc == 0 && (de = readdir(dir)) != NULL) {
        if (de->d_name[0] == '.') {
            continue;
        }

        snprintf(name, sizeof(name), "%s/%s", path, de->d_name);
        rc = replay(name);
    }

    closedir(dir);

    return rc;
}


static int
replay_file(const char *path, size_t size)
{
    FILE    *file;
    u_char  *data;

    data = malloc(size + 1);
    file = fopen(path, "rb");

    if (data == NULL || file == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "scan_replay: %s: %s\n", path, strerror(errno));
        return 1;
    }

    fclose(file);

    /* an abort says with what; this says with which file */

    if (getenv("SCAN_REPLAY_VERBOSE")) {
        fprintf(stderr, "%s\n", path);
    }

    scan_check(data, size);
    free(data);

    return 0;
}
