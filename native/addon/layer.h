// Two versions of one file, and whether they are the same. Used on threads of libuv's pool: nothing here is
// JavaScript's.
#pragma once

#include "addon.h"
#include <string>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <vector>

namespace tscontain {

class UniqueFd {
public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (fd_ >= 0)
      close(fd_);
    fd_ = other.release();
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0)
      close(fd_);
  }
  int get() const {
    return fd_;
  }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }

private:
  int fd_;
};

// openat2(2) that neither follows a link nor leaves the tree or the mount.
int OpenBeneath(int dir, const char* path, int flags);

// The same name in two directories.
struct FilePair {
  int now_dir, before_dir;
  const char* name;
  const struct stat &now, &before;
  int error = 0; // what could not be read; a file that is gone meanwhile is no error, but another file
};

// The same kind of file with the same bytes, link target or device number.
bool SameContent(FilePair& pair);
// The same extended attributes, but for what the overlay notes for itself.
bool SameAttributes(FilePair& pair);

} // namespace tscontain
