/* Answers what getopt_long makes of calls: each is a number of words and the words, all ended by NUL. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    {"all", no_argument, 0, 'a'},
    {"remove", no_argument, 0, 'r'},
    {"remove-dependencies", no_argument, 0, 'r'},
    {"remove-holders", no_argument, 0, 5},
    {"wait", required_argument, 0, 'w'},
    {"show-config", no_argument, 0, 'c'},
    {"showconfig", no_argument, 0, 'c'},
    {"show-modversions", no_argument, 0, 4},
    {"dump-modversions", no_argument, 0, 4},
    {"show-exports", no_argument, 0, 6},
    {"show", no_argument, 0, 'n'},
    {"dirname", required_argument, 0, 'd'},
    {"dry-run", no_argument, 0, 'n'},
    {0, 0, 0, 0},
};

static char *word(void) {
    char *text = NULL;
    size_t size = 0;
    return getdelim(&text, &size, 0, stdin) < 0 ? NULL : text;
}

int main(void) {
    char *count;
    while ((count = word())) {
        int argc = atoi(count) + 1, key;
        char **argv = calloc(argc + 1, sizeof *argv), *message = NULL;
        size_t size;
        argv[0] = "tool";
        for (int i = 1; i < argc; i++)
            argv[i] = word();
        FILE *saved = stderr;
        stderr = open_memstream(&message, &size);
        optind = 0;
        while ((key = getopt_long(argc, argv, "arcnw:d:", options, NULL)) != -1 && key != '?') {
            if (key > 9)
                printf("%c", key);
            else
                printf("%d", key);
            printf("%c%s%c", 0, optarg ? optarg : "", 0);
        }
        fclose(stderr);
        stderr = saved;
        if (key == '?')
            printf("?%c%s%c", 0, message, 0);
        else
            for (printf("--%c", 0); optind < argc; optind++)
                printf("%s%c", argv[optind], 0);
        printf("\f%c", 0);
    }
    return 0;
}
