#include "base/file.h"
#include "base/hex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "base/text.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

using ::testing::HasSubstr;
using testing::TempFolder;
namespace fs = std::filesystem;

std::string slurp(const fs::path& path) {
  return read_file(path, 1U << 24U).value();
}

TEST(MappedFile, MapsAndDropsPages) {
  const TempFolder folder;
  std::string text(1'000'003, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  ASSERT_TRUE(write_file(folder / "a", text));
  const auto file = MappedFile::open(folder / "a");
  ASSERT_TRUE(file);
  const auto bytes = (*file)->bytes();
  const auto equal = [&] { return std::memcmp(bytes.data(), text.data(), text.size()) == 0; };
  ASSERT_EQ(bytes.size(), text.size());
  EXPECT_TRUE(equal());
  (*file)->drop(5000, 500'000);
  (*file)->drop(0, SIZE_MAX);
  (*file)->drop(text.size() - 1, SIZE_MAX);
  (*file)->drop(text.size() + 1, 1);
  (*file)->will_need(5000, SIZE_MAX);
  (*file)->will_need(SIZE_MAX, SIZE_MAX);
  EXPECT_TRUE(equal());
}

TEST(MappedFile, EmptyAndBorrowed) {
  const TempFolder folder;
  ASSERT_TRUE(write_file(folder / "empty", ""));
  EXPECT_TRUE(MappedFile::open(folder / "empty").value()->bytes().empty());
  std::vector<std::byte> memory(3 * 8192, std::byte{42});
  const auto file = MappedFile::borrow(memory, "memory");
  file->drop(0, memory.size());  // must not touch memory that no file backs
  EXPECT_EQ(file->bytes().front(), std::byte{42});
  EXPECT_EQ(memory[8192], std::byte{42});
}

TEST(Files, RefuseWhatIsNoFile) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(MappedFile::open(folder.path()).error().message, HasSubstr("is a folder"));
  EXPECT_THAT(MappedFile::open(folder / "pipe").error().message, HasSubstr("not a regular file"));
  EXPECT_THAT(MappedFile::open("/dev/zero").error().message, HasSubstr("not a regular file"));
  EXPECT_THAT(read_file(folder / "pipe", 10).error().message, HasSubstr("not a regular file"));
  const auto absent = read_file(folder / "absent", 10);
  EXPECT_EQ(absent.error().kind, ErrorKind::io);
  EXPECT_THAT(absent.error().message, HasSubstr((folder / "absent").string()));
  EXPECT_THAT(AtomicFile::create(folder.path()).error().message, HasSubstr("a folder has this name"));
  EXPECT_THAT(AtomicFile::create("/dev/full").error().message, HasSubstr("device"));
}

TEST(ReadFile, KeepsItsLimit) {
  const TempFolder folder;
  ASSERT_TRUE(write_file(folder / "a", "0123456789"));
  EXPECT_EQ(read_file(folder / "a", 10).value(), "0123456789");
  EXPECT_THAT(read_file(folder / "a", 9).error().message, HasSubstr("at most 9"));
}

TEST(AtomicFile, TheOldFileStaysUntilCommit) {
  const TempFolder folder;
  ASSERT_TRUE(write_file(folder / "a", "old"));
  {
    const auto file = AtomicFile::create(folder / "a").value();
    ASSERT_TRUE(file->write("new text"));
    EXPECT_EQ(file->position(), 8U);
    EXPECT_EQ(slurp(folder / "a"), "old");
    ASSERT_TRUE(file->truncate(3));
    EXPECT_FALSE(file->truncate(4));
  }
  EXPECT_EQ(slurp(folder / "a"), "old");
  EXPECT_FALSE(fs::exists(folder / "a.partial"));
  {
    const auto file = AtomicFile::create(folder / "a").value();
    ASSERT_TRUE(file->write("new text"));
    ASSERT_TRUE(file->truncate(3));
    ASSERT_TRUE(file->write("er"));
    EXPECT_TRUE(file->overwrite("N"));
    EXPECT_TRUE(file->overwrite("n"));
    ASSERT_TRUE(file->flush());
    ASSERT_TRUE(file->commit());
    EXPECT_FALSE(file->commit());
  }
  EXPECT_EQ(slurp(folder / "a"), "newer");
  EXPECT_FALSE(fs::exists(folder / "a.partial"));
}

TEST(AtomicFile, ResumesAKeptPartial) {
  const TempFolder folder;
  ASSERT_TRUE(AtomicFile::create(folder / "a", {.keep_partial = true}).value()->write("first "));
  EXPECT_FALSE(fs::exists(folder / "a"));
  EXPECT_EQ(slurp(AtomicFile::partial_path(folder / "a")), "first ");
  {
    const auto file = AtomicFile::create(folder / "a", {.resume = true}).value();
    EXPECT_EQ(file->position(), 6U);
    ASSERT_TRUE(file->write("second"));
    ASSERT_TRUE(file->commit());
  }
  EXPECT_EQ(slurp(folder / "a"), "first second");
  // Without resume, what an earlier run left is no part of the file.
  ASSERT_TRUE(AtomicFile::create(folder / "b", {.keep_partial = true}).value()->write("left over"));
  ASSERT_TRUE(write_file(folder / "b", "b"));
  EXPECT_EQ(slurp(folder / "b"), "b");
}

TEST(AtomicFile, OneWriterAtATime) {
  const TempFolder folder;
  const auto first = AtomicFile::create(folder / "a").value();
  EXPECT_THAT(AtomicFile::create(folder / "a").error().message, HasSubstr("being written by another"));
  ASSERT_TRUE(first->write("x"));
  ASSERT_TRUE(first->commit());
  EXPECT_EQ(slurp(folder / "a"), "x");
}

TEST(AtomicFile, DoesNotFollowALinkInThePartialsPlace) {
  const TempFolder folder;
  ASSERT_TRUE(write_file(folder / "precious", "p"));
  fs::create_symlink(folder / "precious", folder / "a.partial");
  EXPECT_FALSE(write_file(folder / "a", "x"));
  EXPECT_EQ(slurp(folder / "precious"), "p");
}

/// A disk that is full, as far as the process can tell: writes past the limit fail.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

TEST(AtomicFile, AFullDiskLeavesNothingHalfWritten) {
  const TempFolder folder;
  ASSERT_TRUE(write_file(folder / "a", "old"));
  {
    const FullDisk full(10'000);
    const auto file = AtomicFile::create(folder / "a").value();
    Result<void> written;
    for (int i = 0; i < 20 && written; ++i) written = file->write(std::string(1000, 'x'));
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().kind, ErrorKind::io);
    EXPECT_THAT(written.error().message, HasSubstr((folder / "a").string() + ": cannot write: File too large"));
    EXPECT_THAT(file->commit().error().message,
                HasSubstr("earlier write"));  // even if that error is overlooked
  }
  EXPECT_EQ(slurp(folder / "a"), "old");
  EXPECT_FALSE(fs::exists(folder / "a.partial"));
}

TEST(AtomicFile, AFailedRenameLeavesNothingHalfWritten) {
  const TempFolder folder;
  {
    const auto file = AtomicFile::create(folder / "a").value();
    ASSERT_TRUE(file->write("x"));
    fs::create_directories(folder / "a" / "b");
    EXPECT_THAT(file->commit().error().message, HasSubstr("cannot rename"));
  }
  EXPECT_FALSE(fs::exists(folder / "a.partial"));
}

TEST(AtomicFile, AnAbsentFolderIsNamed) {
  const TempFolder folder;
  EXPECT_THAT(write_file(folder / "none/a", "x").error().message,
              HasSubstr("none/a: cannot write: No such file"));
}

/// Runs `body` in a child process, so that it may give up rights or be killed; its wait status.
template <class Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(AtomicFile, AnUnwritableFolderIsOneClearError) {
  const TempFolder folder;
  fs::permissions(folder.path(), static_cast<fs::perms>(0555));
  const int status = in_child([&] {
    if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0))
      return 2;  // root may write anywhere
    const auto written = write_file(folder / "a", "x");
    return !written && written.error().message == (folder / "a").string() + ": cannot write: Permission denied"
               ? 0
               : 1;
  });
  EXPECT_EQ(status, 0);
  fs::permissions(folder.path(), fs::perms::owner_all);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(AtomicFile, AKillLeavesNoFinalFile) {
  const TempFolder folder;
  const int status = in_child([&] {
    const auto file = AtomicFile::create(folder / "a").value();
    if (!file->write("half of")) return 1;
    std::raise(SIGKILL);
    return 2;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(fs::exists(folder / "a"));
  ASSERT_TRUE(
      write_file(folder / "a", "whole"));  // neither the lock nor the leavings of the dead are in the way
  EXPECT_EQ(slurp(folder / "a"), "whole");
}

TEST(Text, Utf8) {
  for (const char* good : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(valid_utf8(good)) << in_quotes(good);
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xe1\x80", "\xed\xa0\x80", "\xef\xbf",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "a\xff", "\xf1\x80\x80\x41"})
    EXPECT_FALSE(valid_utf8(bad)) << in_quotes(bad);
  EXPECT_EQ(in_quotes("é\n\xff"), "'é\\x0a\\xff'");
  EXPECT_LT(in_quotes(std::string(100'000, '\n')).size(), 120U);
}

TEST(Hex, EveryByteComesBackAndNothingElsePasses) {
  std::string all, back;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(to_hex(all).substr(0, 6), "000102");
  EXPECT_TRUE(from_hex(to_hex(all), back));
  EXPECT_EQ(back, all);
  for (const char* bad : {"0", "0g", "AB", "00 ", "0x"}) EXPECT_FALSE(from_hex(bad, back)) << bad;
}

}  // namespace
}  // namespace lissom
