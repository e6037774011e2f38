/* Fails what a process does to the files named in FAILING_FILES (base names, separated by ':') as the first bytes of the
   file FAILING say at that moment: nothing, or one of "read", "write", "half" (half of a write arrives), "fsync" and the
   number of an error, as in "write 28". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static const char *orders;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void attach(void) {
  int fd = open(getenv("FAILING"), O_RDONLY | O_CLOEXEC);
  void *place = fd < 0 ? MAP_FAILED : mmap(NULL, 64, PROT_READ, MAP_SHARED, fd, 0);
  if (place == MAP_FAILED) abort();
  close(fd);
  orders = place;
}

static int concerns(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  const char *name = strrchr(path, '/');
  name = name ? name + 1 : path;
  for (const char *names = getenv("FAILING_FILES"); names && *names;) {
    size_t size = strcspn(names, ":");
    if (strlen(name) == size && strncmp(names, name, size) == 0) return 1;
    names += size + (names[size] == ':');
  }
  return 0;
}

/* The error that `what` on this file is to meet now; 0: none. */
static int ordered(const char *what, int fd) {
  pthread_once(&once, attach);
  if (!orders[0]) return 0;
  char word[16];
  int number;
  if (sscanf(orders, "%15s %d", word, &number) != 2 || strcmp(word, what) != 0 || !concerns(fd)) return 0;
  return number;
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t put(ssize_t (*real)(int, const void *, size_t, off_t), int fd, const void *data, size_t size, off_t at) {
  int number = ordered("write", fd);
  if (!number && (number = ordered("half", fd))) real(fd, data, size / 2, at);
  if (!number) return real(fd, data, size, at);
  errno = number;
  return -1;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REAL(pwrite);
  return put(real, fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
  REAL(pwrite64);
  return put(real, fd, data, size, at);
}

static ssize_t get(ssize_t (*real)(int, void *, size_t, off_t), int fd, void *data, size_t size, off_t at) {
  int number = ordered("read", fd);
  if (!number) return real(fd, data, size, at);
  errno = number;
  return -1;
}

ssize_t pread(int fd, void *data, size_t size, off_t at) {
  REAL(pread);
  return get(real, fd, data, size, at);
}

ssize_t pread64(int fd, void *data, size_t size, off_t at) {
  REAL(pread64);
  return get(real, fd, data, size, at);
}

static int flush(int (*real)(int), int fd) {
  int number = ordered("fsync", fd);
  if (!number) return real(fd);
  errno = number;
  return -1;
}

int fsync(int fd) {
  REAL(fsync);
  return flush(real, fd);
}

int fdatasync(int fd) {
  REAL(fdatasync);
  return flush(real, fd);
}
