// Looking into one directory of an overlay: what its upper layer holds, how that is seen in the merged tree, and what
// was there before. It runs on a thread of libuv's pool, a few hundred entries at a time, as reading two versions of a
// file may take long. Everything is opened beneath a descriptor and no link is followed: the layers' content is not
// trusted.
#include "layer.h"
#include "descriptor.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tscontain {

namespace {
constexpr size_t kBatch = 512;
constexpr size_t kNames = 64 * 1024; // bytes of directory entries read at once

struct DirectoryEntry { // getdents64(2)
  uint64_t ino;
  int64_t off;
  uint16_t reclen;
  uint8_t type;
  char name[1];
};

enum EntryFlag { kOpaque = 1, kRedirect = 2, kMetacopy = 4 };

void PutInt(std::string* out, uint64_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

// One record of the wire format (native/launcher/wire.h): numbers, and one string.
void PutRecord(std::string* out, const std::vector<uint64_t>& ints, const std::string& name) {
  size_t padded = (name.size() + 8) & ~size_t{7};
  uint32_t size = static_cast<uint32_t>(8 + ints.size() * 8 + 8 + padded);
  const char head[4] = {0, 0, static_cast<char>(ints.size()), 1};
  out->append(head, sizeof head);
  out->append(reinterpret_cast<const char*>(&size), sizeof size);
  for (uint64_t value : ints)
    PutInt(out, value);
  PutInt(out, name.size());
  out->append(name);
  out->append(padded - name.size(), '\0');
}

// What an overlay's layer has in the place of a deleted file.
bool IsWhiteout(const struct stat& facts) {
  return S_ISCHR(facts.st_mode) && facts.st_rdev == 0;
}

// When a file was made, in microseconds since 1970 (statx(2)); 0 where its file system does not know.
uint64_t Born(int dir, const std::string& name) {
  struct statx facts;
  if (statx(dir, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BTIME, &facts) != 0 ||
      !(facts.stx_mask & STATX_BTIME) || facts.stx_btime.tv_sec < 0)
    return 0;
  return static_cast<uint64_t>(facts.stx_btime.tv_sec) * 1000000 + facts.stx_btime.tv_nsec / 1000;
}

bool Gone(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ESTALE;
}
} // namespace

// The three versions of a directory, open for looking at its entries.
class LayerWorker : public Napi::AsyncWorker {
public:
  LayerWorker(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred)
      : Napi::AsyncWorker(info.Env()), deferred_(deferred) {
    for (int i = 0; i < 4; i++)
      if (info[i].IsObject()) {
        int fd = Descriptor::Borrow(info[i]);
        given_[i] = UniqueFd(fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0));
      }
    auto path = info[4].As<Napi::Buffer<char>>();
    path_.assign(path.Data(), path.Length());
    prefix_ = info[5].As<Napi::String>().Utf8Value();
  }

  void Execute() override {
    bool raw = given_[kUpper].get() >= 0;
    UniqueFd merged = OpenDirectory(given_[kMerged].get(), path_, false);
    UniqueFd below = OpenDirectory(given_[kBelow].get(), path_, false);
    list_ = std::move(given_[kRest]);
    if (list_.get() < 0)
      list_ = OpenDirectory(given_[raw ? kUpper : kMerged].get(), path_, true);
    if (error_ || list_.get() < 0 || merged.get() < 0)
      return; // what is gone by now has nothing to tell
    // An O_PATH descriptor does for the raw layer: attributes are read through its link in /proc.
    while (!error_ && entries_ < kBatch && ReadNames())
      for (const std::string& name : names_)
        if (!error_)
          Look(list_.get(), merged.get(), below.get(), raw, name);
  }

  void OnOK() override {
    Napi::Env env = Env();
    if (error_) {
      ThrowErrno(env, call_, error_);
      deferred_.Reject(env.GetAndClearPendingException().Value());
      return;
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("records", Napi::Buffer<char>::Copy(env, records_.data(), records_.size()));
    napi_value rest = list_.get() >= 0 ? Descriptor::Wrap(env, list_.release()) : nullptr;
    if (rest)
      result.Set("rest", Napi::Value(env, rest));
    deferred_.Resolve(result);
  }

private:
  enum { kRest, kUpper, kMerged, kBelow };

  void Fail(const char* call) {
    error_ = errno;
    call_ = call;
  }

  // A directory beneath `root`; none where there is none of that name. Longer paths than the kernel takes at once are
  // walked in pieces.
  UniqueFd OpenDirectory(int root, const std::string& path, bool list) {
    if (root < 0 || error_)
      return UniqueFd();
    UniqueFd here;
    size_t at = 0;
    do {
      size_t end = path.size();
      if (end - at > kPiece && (end = path.rfind('/', at + kPiece)) <= at)
        end = path.size();
      bool last = end == path.size();
      std::string piece = end == at ? "." : path.substr(at, end - at);
      UniqueFd next(OpenBeneath(here.get() < 0 ? root : here.get(), piece.c_str(),
                                (last && list ? O_RDONLY : O_PATH) | O_DIRECTORY | O_NOFOLLOW));
      if (next.get() < 0) {
        if (!Gone(errno))
          Fail("openat2");
        return UniqueFd();
      }
      here = std::move(next);
      at = last ? end : end + 1;
    } while (at < path.size());
    return here;
  }

  // The next names of the listed directory; false, and the descriptor closed, at its end.
  bool ReadNames() {
    alignas(8) static thread_local char buffer[kNames];
    long got = syscall(SYS_getdents64, list_.get(), buffer, sizeof buffer);
    if (got < 0)
      Fail("getdents64");
    names_.clear();
    for (long at = 0; at < got;) {
      auto entry = reinterpret_cast<const DirectoryEntry*>(buffer + at);
      at += entry->reclen;
      if (strcmp(entry->name, ".") && strcmp(entry->name, ".."))
        names_.emplace_back(entry->name);
    }
    if (got <= 0)
      list_ = UniqueFd();
    return got > 0;
  }

  // Whether the name is there.
  bool Stat(int dir, const std::string& name, struct stat* facts) {
    *facts = {};
    if (dir < 0 || fstatat(dir, name.c_str(), facts, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0)
      return dir >= 0;
    if (!Gone(errno))
      Fail("fstatat");
    *facts = {};
    return false;
  }

  uint64_t Marks(int upper, const std::string& name) {
    std::string file = "/proc/self/fd/" + std::to_string(upper) + "/" + name;
    char value;
    uint64_t marks = 0;
    if (lgetxattr(file.c_str(), (prefix_ + "opaque").c_str(), &value, 1) == 1 && value == 'y')
      marks |= kOpaque;
    if (lgetxattr(file.c_str(), (prefix_ + "redirect").c_str(), &value, 0) > 0)
      marks |= kRedirect;
    if (lgetxattr(file.c_str(), (prefix_ + "metacopy").c_str(), &value, 0) >= 0)
      marks |= kMetacopy;
    return marks;
  }

  void Look(int list, int merged, int below, bool raw, const std::string& name) {
    struct stat now, before;
    bool seen = Stat(merged, name, &now), was = Stat(below, name, &before) && !IsWhiteout(before);
    if (error_ || (!seen && !was))
      return;
    // Not in the upper layer, so it can differ only by an index, which is about files with several names.
    if (!raw && was && !S_ISDIR(before.st_mode) && before.st_nlink < 2)
      return;
    uint64_t marks = raw && seen ? Marks(list, name) : 0;
    if (!was)
      before = {};
    bool both = seen && was, content = false, attributes = false;
    if (both) {
      FilePair pair = {merged, below, name.c_str(), now, before};
      content = (marks & kMetacopy && !(marks & kRedirect) && S_ISREG(before.st_mode)) || SameContent(pair);
      attributes = SameAttributes(pair);
      if (pair.error) {
        errno = pair.error;
        Fail("read");
      }
    }
    bool time = now.st_mtim.tv_sec == before.st_mtim.tv_sec && now.st_mtim.tv_nsec == before.st_mtim.tv_nsec;
    uint64_t born = both && S_ISDIR(now.st_mode) && S_ISDIR(before.st_mode) ? Born(merged, name) : 0;
    PutRecord(&records_,
              {marks, now.st_mode, now.st_uid, now.st_gid, before.st_mode, before.st_uid, before.st_gid, content,
               attributes, time, now.st_ino == before.st_ino, born},
              name);
    entries_++;
  }

  static constexpr size_t kPiece = 2048;
  Napi::Promise::Deferred deferred_;
  UniqueFd given_[4], list_;
  std::string path_, prefix_, records_;
  std::vector<std::string> names_;
  size_t entries_ = 0;
  int error_ = 0;
  const char* call_ = "";
};

// readLayer(rest, upper, merged, below, path, prefix): entries of one directory, as records; `rest` is what continues.
// Without `upper` the merged directory itself is listed.
static Napi::Value ReadLayer(const Napi::CallbackInfo& info) {
  auto deferred = Napi::Promise::Deferred::New(info.Env());
  auto worker = new LayerWorker(info, deferred);
  if (info.Env().IsExceptionPending()) { // a closed descriptor
    delete worker;
    return info.Env().Undefined();
  }
  worker->Queue();
  return deferred.Promise();
}

Napi::Object InitLayer(Napi::Env env, Napi::Object exports) {
  exports.Set("readLayer", Napi::Function::New(env, ReadLayer));
  return exports;
}

} // namespace tscontain
