
/*
 * Copyright (C) Academy exchange authors
 */


/*
 * Runs the checks of the fuzzer with inputs that are kept:
 *
 *     scan_replay [-l LIST] [PATH...]
 *
 * A list has an input on each line, in which %XX stands for a byte; a path is
 * a file that is an input, or a directory of those.  scan_check() aborts where
 * something differs; the counts show that there was something to check.
 */


#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "scan_check.h"


static int  replay_list(const char *path);
static size_t  decode(char *line, size_t len);
static int  replay(const char *path);
static int  replay_file(const char *path, size_t size);
static int  replay_directory(const char *path);
static void  check(const char *path, const u_char *data, size_t size);


int
main(int argc, char **argv)
{
    int  i, rc;

    for (i = 1; i < argc; i++) {

        if (strcmp(argv[i], "-l") == 0 && i + 1 < argc) {
            rc = replay_list(argv[++i]);

        } else {
            rc = replay(argv[i]);
        }

        if (rc != 0) {
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
replay_list(const char *path)
{
    char    *line, name[4096];
    FILE    *file;
    size_t   n, room;
    ssize_t  len;

    file = fopen(path, "r");

    if (file == NULL) {
        fprintf(stderr, "scan_replay: %s: %s\n", path, strerror(errno));
        return 1;
    }

    n = 0;
    line = NULL;
    room = 0;

    while ((len = getline(&line, &room, file)) > 0) {

        if (line[len - 1] == '\n') {
            len--;
        }

        snprintf(name, sizeof(name), "%s:%zu", path, ++n);
        check(name, (u_char *) line, decode(line, len));
    }

    free(line);
    fclose(file);

    return 0;
}


/* in place; returns what is left of the length */

static size_t
decode(char *line, size_t len)
{
    char      *p, *q, *end;
    unsigned   c;

    q = line;
    end = line + len;

    for (p = line; p < end; p++) {

        if (*p == '%' && sscanf(p + 1, "%2x", &c) == 1) {
            *q++ = (char) c;
            p += 2;
            continue;
        }

        *q++ = *p;
    }

    return q - line;
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

    check(path, data, size);
    free(data);

    return 0;
}


static void
check(const char *path, const u_char *data, size_t size)
{
    /* an abort says with what; this says with which file */

    if (getenv("SCAN_REPLAY_VERBOSE")) {
        fprintf(stderr, "%s\n", path);
    }

    scan_check(data, size);
}
