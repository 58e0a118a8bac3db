/*
 * The oracle of the lookup tests: which patterns match each query, as fnmatch(3) of this machine's libc says.
 *
 *     oracle PATTERNS QUERIES [full]
 *
 * Both files hold texts that each end in a NUL. For each query one line is printed: the numbers, from 0, of the
 * patterns that match it, in order, parted by spaces.
 *
 * fnmatch compares ordinary bytes one by one from the left, and with no flags and in the C locale nothing but
 * the byte itself equals one. So a pattern cannot match a query that does not begin with the bytes the pattern
 * has before its first '*', '?', '[' or '\', and fnmatch is not asked then: the answer is known. A test runs
 * a share of the queries with "full", which asks for every pair, and compares.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    const char *bytes;
    size_t prefix; /* bytes before the first special one */
};

struct texts {
    struct text *items;
    size_t count;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static struct texts read_texts(const char *path)
{
    struct texts found = {NULL, 0};
    FILE *file = fopen(path, "rb");
    char *data;
    long size;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
        fail(path);
    rewind(file);
    data = malloc(size + 1);
    found.items = malloc((size + 1) * sizeof(*found.items));
    if (data == NULL || found.items == NULL || fread(data, 1, size, file) != (size_t)size)
        fail(path);
    fclose(file);
    if (size > 0 && data[size - 1] != '\0') {
        fprintf(stderr, "%s: the last text does not end in a NUL\n", path);
        exit(1);
    }
    for (char *at = data; at < data + size; at += strlen(at) + 1) {
        found.items[found.count].bytes = at;
        found.items[found.count].prefix = strcspn(at, "*?[\\");
        found.count++;
    }
    return found;
}

int main(int argc, char **argv)
{
    int full = argc == 4 && strcmp(argv[3], "full") == 0;

    if (argc != 3 && !full) {
        fprintf(stderr, "usage: oracle PATTERNS QUERIES [full]\n");
        return 2;
    }
    struct texts patterns = read_texts(argv[1]);
    struct texts queries = read_texts(argv[2]);

    for (size_t q = 0; q < queries.count; q++) {
        const char *query = queries.items[q].bytes;
        const char *separator = "";

        for (size_t p = 0; p < patterns.count; p++) {
            const struct text *pattern = &patterns.items[p];

            if (!full && strncmp(pattern->bytes, query, pattern->prefix) != 0)
                continue;
            if (fnmatch(pattern->bytes, query, 0) == 0) {
                printf("%s%zu", separator, p);
                separator = " ";
            }
        }
        putchar('\n');
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
