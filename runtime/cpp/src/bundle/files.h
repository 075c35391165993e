// Files of a bundle: read, checked against the manifest, and held open so that they remain what was
// checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fastbert {

struct Manifest;

// Values that change when a file is replaced or written to.
struct FileVersion {
  std::uint64_t device = 0;
  std::uint64_t number = 0;  // inode
  std::int64_t bytes = 0;
  std::int64_t modified_s = 0;
  std::int64_t modified_ns = 0;

  friend bool operator==(const FileVersion& one, const FileVersion& other) noexcept {
    return one.device == other.device && one.number == other.number && one.bytes == other.bytes &&
           one.modified_s == other.modified_s && one.modified_ns == other.modified_ns;
  }
};

// Returns the version of the file that the path leads to; nothing where there is none.
std::optional<FileVersion> file_version(const std::filesystem::path& path);

// A file open for reading.
class OpenFile {
 public:
  // Throws BundleError if it cannot be opened.
  explicit OpenFile(const std::filesystem::path& path);
  ~OpenFile();
  OpenFile(OpenFile&& other) noexcept;
  OpenFile& operator=(OpenFile&&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  // Throws BundleError if the system refuses.
  FileVersion version() const;
  // Reads up to `size` bytes at `offset`; returns how many, 0 at the end. Throws BundleError if the
  // system refuses.
  std::size_t read(void* buffer, std::size_t size, std::uint64_t offset) const;

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path path_;
  int descriptor_;
};

// Returns a file's contents. Throws BundleError if it cannot be read.
std::string read_file(const std::filesystem::path& path);
std::string read_file(const OpenFile& file);

// Checks that files exist and have the recorded size, and with `contents` the recorded sha256, on
// up to `threads` threads. Throws BundleError; the message names the file.
void check_files(const std::filesystem::path& bundle, const Manifest& manifest,
                 const std::vector<std::string>& names, bool contents, std::size_t threads);

// Files that are read later, held open, whatever happens to their paths: a repointed link, a
// replaced or removed directory. May be shared by threads.
class KeptFiles {
 public:
  // Throws BundleError if one cannot be opened.
  explicit KeptFiles(const std::vector<std::filesystem::path>& paths);

  // Returns whether every path still leads to its file.
  bool are_in_place() const;
  // Throws BundleError if a file was written to since it was opened.
  void check_unchanged() const;
  // Returns a file's contents, wherever its path leads now.
  std::string read(const std::filesystem::path& path) const;

 private:
  struct Kept {
    OpenFile file;
    FileVersion version;
  };
  std::vector<Kept> files_;
};

}  // namespace fastbert
