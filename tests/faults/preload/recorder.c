/* Records what a process does to the files named in RECORDED (base names, separated by ':'), into the file RECORDING:
   every write, truncation, sync and removal, in the order in which they happened over all threads and processes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE = 2, SYNC = 3, REMOVE = 4 };

struct __attribute__((packed)) record {
  uint8_t what;
  uint8_t file;
  uint64_t offset;
  uint64_t length;
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int recording = -1;

static int named(const char *path) {
  const char *name = strrchr(path, '/');
  name = name ? name + 1 : path;
  const char *names = getenv("RECORDED");
  for (int number = 0; names && *names; number++) {
    size_t length = strcspn(names, ":");
    if (strlen(name) == length && strncmp(names, name, length) == 0) return number;
    names += length + (names[length] == ':');
  }
  return -1;
}

static int opened(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return -1;
  path[length] = 0;
  return named(path);
}

static void begin(void) {
  pthread_mutex_lock(&one_at_a_time);
  if (recording < 0) recording = open(getenv("RECORDING"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  flock(recording, LOCK_EX);
}

static void end(void) {
  flock(recording, LOCK_UN);
  pthread_mutex_unlock(&one_at_a_time);
}

static void note(int what, int file, uint64_t offset, uint64_t length, const void *data) {
  struct record head = {what, file, offset, length};
  struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, data ? length : 0}};
  if (writev(recording, parts, data ? 2 : 1) < 0) abort();
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t put(ssize_t (*real)(int, const void *, size_t, off_t), int fd, const void *data, size_t length,
                   off_t offset) {
  int file = opened(fd);
  if (file < 0) return real(fd, data, length, offset);
  begin();
  ssize_t done = real(fd, data, length, offset);
  if (done > 0) note(WRITE, file, offset, done, data);
  end();
  return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  REAL(pwrite);
  return put(real, fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) {
  REAL(pwrite64);
  return put(real, fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length) {
  REAL(write);
  int file = opened(fd);
  if (file < 0) return real(fd, data, length);
  begin();
  off_t offset = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
  ssize_t done = real(fd, data, length);
  if (done > 0) note(WRITE, file, offset, done, data);
  end();
  return done;
}

static int cut(int (*real)(int, off_t), int fd, off_t length) {
  int file = opened(fd);
  if (file < 0) return real(fd, length);
  begin();
  int failed = real(fd, length);
  if (!failed) note(TRUNCATE, file, 0, length, NULL);
  end();
  return failed;
}

int ftruncate(int fd, off_t length) {
  REAL(ftruncate);
  return cut(real, fd, length);
}

int ftruncate64(int fd, off_t length) {
  REAL(ftruncate64);
  return cut(real, fd, length);
}

static int flush(int (*real)(int), int fd) {
  int file = opened(fd);
  if (file < 0) return real(fd);
  begin();
  int failed = real(fd);
  if (!failed) note(SYNC, file, 0, 0, NULL);
  end();
  return failed;
}

int fsync(int fd) {
  REAL(fsync);
  return flush(real, fd);
}

int fdatasync(int fd) {
  REAL(fdatasync);
  return flush(real, fd);
}

int unlink(const char *path) {
  REAL(unlink);
  int file = named(path);
  if (file < 0) return real(path);
  begin();
  int failed = real(path);
  if (!failed) note(REMOVE, file, 0, 0, NULL);
  end();
  return failed;
}
