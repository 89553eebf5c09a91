/* A disk that is slow or not, as a file says while the process runs.
 *
 * Preloaded into a program, it looks before each fsync and fdatasync into the file named by E2E_SLOW_SYNC: a number is
 * how many milliseconds to wait first; no file, or an empty one, is none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_as_told(void) {
    const char *path = getenv("E2E_SLOW_SYNC");
    char text[16] = {0};
    if (!path) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    long millis = length > 0 ? atol(text) : 0;
    struct timespec pause = {millis / 1000, millis % 1000 * 1000000};
    if (millis > 0) nanosleep(&pause, NULL);
}

int fsync(int file) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_as_told();
    return real(file);
}

int fdatasync(int file) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_as_told();
    return real(file);
}
