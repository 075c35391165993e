#include "bundle/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include "bundle/manifest.h"
#include "bundle/sha256.h"
#include "errors.h"
#include "system/parallel.h"

namespace fastbert {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;

FileVersion version_of(const struct stat& status) {
#if defined(__APPLE__)
  const struct timespec modified = status.st_mtimespec;
#else
  const struct timespec modified = status.st_mtim;
#endif
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          status.st_size, modified.tv_sec, modified.tv_nsec};
}

std::string sha256_of(const OpenFile& file) {
  const auto buffer = std::make_unique<char[]>(kChunkBytes);
  Sha256 digest;
  std::uint64_t offset = 0;
  while (const std::size_t size = file.read(buffer.get(), kChunkBytes, offset)) {
    digest.update(buffer.get(), size);
    offset += size;
  }
  return digest.hex_digest();
}

void check_file(const std::filesystem::path& path, const FileRecord& record, bool contents) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found ||
      (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)))
    throw BundleError(path.string() + " is missing. Copy the whole bundle again.");
  const OpenFile file(path);
  const std::int64_t bytes = file.version().bytes;
  if (bytes != record.bytes)
    throw BundleError(path.string() + " has " + std::to_string(bytes) +
                      " bytes; the manifest says " + std::to_string(record.bytes) +
                      ". Copy the whole bundle again.");
  if (contents && sha256_of(file) != record.sha256)
    throw BundleError(
        path.string() +
        " was altered: its sha256 differs from the manifest's. Copy the whole bundle again.");
}

}  // namespace

std::optional<FileVersion> file_version(const std::filesystem::path& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return version_of(status);
}

OpenFile::OpenFile(const std::filesystem::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) fail();
}

OpenFile::~OpenFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

OpenFile::OpenFile(OpenFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

FileVersion OpenFile::version() const {
  struct stat status;
  if (::fstat(descriptor_, &status) != 0) fail();
  return version_of(status);
}

std::size_t OpenFile::read(void* buffer, std::size_t size, std::uint64_t offset) const {
  while (true) {
    const ssize_t got = ::pread(descriptor_, buffer, size, static_cast<off_t>(offset));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) fail();
  }
}

void OpenFile::fail() const {
  const std::string reason = std::generic_category().message(errno);
  throw BundleError(path_.string() + " cannot be read: " + reason +
                    ". Name a bundle that this user can read.");
}

std::string read_file(const std::filesystem::path& path) { return read_file(OpenFile(path)); }

std::string read_file(const OpenFile& file) {
  std::string contents;
  std::size_t got = 0;
  std::size_t step = static_cast<std::size_t>(file.version().bytes) + 1;  // one more: sees the end
  do {
    const std::size_t at = contents.size();
    contents.resize(at + step);
    got = file.read(contents.data() + at, step, at);
    contents.resize(at + got);
    step = kChunkBytes;
  } while (got > 0);
  return contents;
}

void check_files(const std::filesystem::path& bundle, const Manifest& manifest,
                 const std::vector<std::string>& names, bool contents, std::size_t threads) {
  parallel_for(names.size(), threads, [&](std::size_t index) {
    const auto record = manifest.files.find(names[index]);
    if (record == manifest.files.end())
      throw BundleError((bundle / kManifestFile).string() + " has no record of " + names[index] +
                        ". Export the bundle again.");
    check_file(bundle / names[index], record->second, contents);
  });
}

KeptFiles::KeptFiles(const std::vector<std::filesystem::path>& paths) {
  files_.reserve(paths.size());
  for (const std::filesystem::path& path : paths) {
    OpenFile file(path);
    const FileVersion version = file.version();
    files_.push_back({std::move(file), version});
  }
}

bool KeptFiles::are_in_place() const {
  return std::all_of(files_.begin(), files_.end(), [](const Kept& kept) {
    const std::optional<FileVersion> now = file_version(kept.file.path());
    return now && now->device == kept.version.device && now->number == kept.version.number;
  });
}

void KeptFiles::check_unchanged() const {
  for (const Kept& kept : files_) {
    if (!(kept.file.version() == kept.version))
      throw BundleError(kept.file.path().string() +
                        " was written to since this model was loaded, which would mix two "
                        "versions. Load the bundle again. To replace a bundle, write the new one "
                        "beside it and rename it, as fastbert export does.");
  }
}

std::string KeptFiles::read(const std::filesystem::path& path) const {
  for (const Kept& kept : files_) {
    if (kept.file.path() == path) return read_file(kept.file);
  }
  throw BundleError(path.string() + " is not held open.");
}

}  // namespace fastbert
