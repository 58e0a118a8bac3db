/* Preloaded: init_module writes the image it is given to the file $IMAGE, and nothing is loaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

int init_module(const void *image, unsigned long size, const char *parameters) {
    FILE *file = fopen(getenv("IMAGE"), "wb");
    (void)parameters;
    return !file || fwrite(image, 1, size, file) != size || fclose(file) ? -1 : 0;
}

long syscall(long number, ...) {
    long words[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        words[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_init_module)
        return init_module((const void *)words[0], words[1], (const char *)words[2]);
    if (number == SYS_finit_module)
        abort();
    long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
