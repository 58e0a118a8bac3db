/*
 * libkmod's side of the comparison: open the index of one kernel and look modaliases up in it.
 *
 *     libkmod_lookup MODULE_DIRECTORY CONFIG_DIRECTORY QUERIES [ROUNDS]
 *
 * CONFIG_DIRECTORY is an empty one, so that nothing of this machine's modprobe.d shows. QUERIES holds texts that
 * each end in a NUL. Without ROUNDS a line is printed for each query: the names of the modules, parted by
 * spaces, or "! NUMBER" with the error where libkmod does not take the query. With ROUNDS, two lines a round:
 * "open" and "lookup", each with nanoseconds, for opening the index and for all lookups.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libkmod.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static long long now(void)
{
    struct timespec at;

    if (clock_gettime(CLOCK_MONOTONIC, &at) != 0)
        fail("clock_gettime");
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static char *read_queries(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    long length;
    char *data;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0)
        fail(path);
    rewind(file);
    data = calloc(1, length + 1);
    if (data == NULL || fread(data, 1, length, file) != (size_t)length)
        fail(path);
    fclose(file);
    *size = length;
    return data;
}

static struct kmod_ctx *open_index(const char *directory, const char *config)
{
    const char *const configs[] = {config, NULL};
    struct kmod_ctx *ctx = kmod_new(directory, configs);

    if (ctx == NULL || kmod_load_resources(ctx) < 0)
        fail(directory);
    return ctx;
}

static void print_answers(struct kmod_ctx *ctx, const char *queries, size_t size)
{
    for (const char *at = queries; at < queries + size; at += strlen(at) + 1) {
        struct kmod_list *found = NULL, *item;
        const char *separator = "";
        int error = kmod_module_new_from_lookup(ctx, at, &found);

        if (error < 0)
            printf("! %d", -error);
        kmod_list_foreach(item, found) {
            struct kmod_module *module = kmod_module_get_module(item);

            printf("%s%s", separator, kmod_module_get_name(module));
            separator = " ";
            kmod_module_unref(module);
        }
        putchar('\n');
        kmod_module_unref_list(found);
    }
}

static long long time_lookups(struct kmod_ctx *ctx, const char *queries, size_t size)
{
    long long start = now();

    for (const char *at = queries; at < queries + size; at += strlen(at) + 1) {
        struct kmod_list *found = NULL;

        kmod_module_new_from_lookup(ctx, at, &found);
        kmod_module_unref_list(found);
    }
    return now() - start;
}

int main(int argc, char **argv)
{
    size_t size;

    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: libkmod_lookup MODULE_DIRECTORY CONFIG_DIRECTORY QUERIES [ROUNDS]\n");
        return 2;
    }
    char *queries = read_queries(argv[3], &size);

    if (argc == 4) {
        struct kmod_ctx *ctx = open_index(argv[1], argv[2]);

        print_answers(ctx, queries, size);
        kmod_unref(ctx);
    }
    for (int rounds = argc == 5 ? atoi(argv[4]) : 0; rounds > 0; rounds--) {
        long long start = now();
        struct kmod_ctx *ctx = open_index(argv[1], argv[2]);

        printf("open %lld\n", now() - start);
        printf("lookup %lld\n", time_lookups(ctx, queries, size));
        kmod_unref(ctx);
    }
    free(queries);
    return fflush(stdout) == 0 ? 0 : 1;
}
