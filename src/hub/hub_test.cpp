// What needs no network: names, addresses, listings, the choice of files, the cache's layout.

#include "hub/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "base/file.h"
#include "hub/blob.h"
#include "hub/cache.h"
#include "hub/listing.h"
#include "hub/model_id.h"
#include "support/temp_folder.h"

namespace lissom::hub {
namespace {

using lissom::testing::TempFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

const std::string kCommit(40, 'c');
const std::string kSha1(40, '1');
const std::string kSha256(64, '2');

/// Sets variables for one test; gtest runs them one after the other.
class Environment {
 public:
  ~Environment() {
    for (const auto& [name, value] : old_)
      if (value)
        ::setenv(name.c_str(), value->c_str(), 1);
      else
        ::unsetenv(name.c_str());
  }
  void set(const std::string& name, const std::string& value) {
    const char* old = std::getenv(name.c_str());
    old_.emplace_back(name, old == nullptr ? std::nullopt : std::optional<std::string>(old));
    ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::vector<std::pair<std::string, std::optional<std::string>>> old_;
};

void touch(const fs::path& path, const std::string& text = "") {
  fs::create_directories(path.parent_path());
  ASSERT_TRUE(write_file(path, text));
}

// ---------------------------------------------------------------- names

TEST(ModelId, Parts) {
  const auto plain = parse_model_id("org/name.v1_x-Y");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->repo, "org/name.v1_x-Y");
  EXPECT_EQ(plain->revision + plain->tag + plain->file, "");
  const auto all = parse_model_id("hf://org/name@v1.0/folder/a-Q4_K_M.gguf");
  ASSERT_TRUE(all);
  EXPECT_EQ(all->repo, "org/name");
  EXPECT_EQ(all->revision, "v1.0");
  EXPECT_EQ(all->file, "folder/a-Q4_K_M.gguf");
  const auto tag = parse_model_id("org/name:Q4_K_M");
  ASSERT_TRUE(tag);
  EXPECT_EQ(tag->tag, "Q4_K_M");
  EXPECT_EQ(parse_model_id("hf://org/name.gguf")->repo, "org/name.gguf");
}

TEST(ModelId, WhatIsNone) {
  for (const char* text : {"",
                           "name",
                           "/org/name",
                           "./a/b",
                           "../name",
                           "org/",
                           "org/..",
                           "org/.x",
                           "-o/n",
                           "o/n-",
                           "a--b/c",
                           "a/b..c",
                           "out/model.gguf",
                           "out/model.safetensors",
                           "dir/config.json",
                           "a/pytorch_model.bin",
                           "o/n/",
                           "o/n/file",
                           "o/n/../x.gguf",
                           "o/n@",
                           "o/n@a..b",
                           "o/n:",
                           "o/n:a b",
                           "o/n\n",
                           "o/n o",
                           "~/model",
                           "C:\\a/b"})
    EXPECT_FALSE(parse_model_id(text)) << text;
  EXPECT_FALSE(parse_model_id(std::string(97, 'a') + "/b"));
}

TEST(ModelId, Revisions) {
  for (const char* good : {"main", "v1.0", "refs/pr/1", "feature/x_y", "0123abc"})
    EXPECT_TRUE(check_revision(good)) << good;
  for (const char* bad : {"", "..", "a/../b", "/a", "a/", "a b", "a:b", "a~1", "-x", "a\n", "a.lock", "a\\b"})
    EXPECT_FALSE(check_revision(bad)) << bad;
  EXPECT_TRUE(is_commit(kCommit));
  EXPECT_FALSE(is_commit(kCommit + "0"));
  EXPECT_FALSE(is_commit("main"));
}

TEST(RepoPath, SafeOnly) {
  for (const char* good : {"config.json", "1_Pooling/config.json", "a b.gguf", "\xC3\xA4.gguf", "a..b"})
    EXPECT_TRUE(safe_repo_path(good)) << good;
  for (const char* bad : {"", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b", "a\nb",
                          "a\x7F", "\x1B[2J", "\xFF.gguf"})
    EXPECT_FALSE(safe_repo_path(bad)) << bad;
  EXPECT_FALSE(safe_repo_path(std::string("a\0b", 3)));
  EXPECT_FALSE(safe_repo_path(std::string(256, 'a')));
  EXPECT_FALSE(safe_repo_path(std::string(1025, '/')));
}

// ---------------------------------------------------------------- addresses

TEST(Url, Building) {
  EXPECT_EQ(listing_url("http://h:1", "o/n", "refs/pr/1"),
            "http://h:1/api/models/o/n/revision/refs%2Fpr%2F1?blobs=true");
  EXPECT_EQ(file_url("https://h", "o/n", kCommit, "a b/c#?%.gguf"),
            "https://h/o/n/resolve/" + kCommit + "/a%20b/c%23%3F%25.gguf");
}

TEST(Url, Origins) {
  EXPECT_EQ(origin_of("https://Host/path?q"), "https://host:443");
  EXPECT_EQ(origin_of("http://host:8080"), "http://host:8080");
  EXPECT_EQ(origin_of("ftp://host/"), "");
  EXPECT_EQ(origin_of("host"), "");
  EXPECT_NE(origin_of("http://host"), origin_of("https://host"));
  EXPECT_NE(origin_of("http://host:1"), origin_of("http://host:2"));
}

TEST(Url, Redirects) {
  EXPECT_EQ(*redirect_target("https://a/b/c?d", "/e"), "https://a/e");
  EXPECT_EQ(*redirect_target("http://a/", "https://b/c?d=%20"), "https://b/c?d=%20");
  EXPECT_EQ(*redirect_target("http://a/", "http://b/"), "http://b/");
  const auto error = [](const char* from, const char* to) { return redirect_target(from, to).error().message; };
  EXPECT_THAT(error("https://a/", "http://a/"), HasSubstr("from https to http://a:80, which is refused"));
  EXPECT_THAT(error("https://a/", "file:///etc/passwd"), HasSubstr("neither https nor http"));
  EXPECT_THAT(error("https://a/", "https://user:secret@b/"), HasSubstr("password"));
}

TEST(Url, Etags) {
  EXPECT_EQ(plain_etag("\"abc\""), "abc");
  EXPECT_EQ(plain_etag("W/\"abc\""), "abc");
  EXPECT_EQ(plain_etag("abc"), "abc");
  EXPECT_EQ(plain_etag(""), "");
  EXPECT_EQ(plain_etag("\""), "\"");
}

TEST(Backoff, WaitsLongerAndGivesUp) {
  Outcome outcome;
  outcome.response.status = 503;
  Backoff backoff;
  EXPECT_EQ(backoff.next(outcome), 0.5);
  EXPECT_EQ(backoff.next(outcome), 1);
  outcome.response.retry_after = 7;
  EXPECT_EQ(backoff.next(outcome), 7);
  outcome.response.retry_after = 0;
  EXPECT_EQ(backoff.next(outcome), 4);
  EXPECT_EQ(backoff.next(outcome), std::nullopt);
  backoff.progress();
  EXPECT_EQ(backoff.next(outcome), 0.5);
  outcome.response.retry_after = 3600;
  EXPECT_EQ(backoff.next(outcome), std::nullopt);
  for (const int status : {200, 302, 400, 401, 403, 404, 416}) {
    outcome.response = {};
    outcome.response.status = status;
    EXPECT_EQ(Backoff().next(outcome), std::nullopt) << status;
  }
}

// ---------------------------------------------------------------- listings

std::string listing_json(const std::string& siblings) {
  return R"({"id":"o/n","sha":")" + kCommit + R"(","siblings":[)" + siblings + "]}";
}
std::string error_of(const std::string& siblings) {
  const auto listing = parse_listing(listing_json(siblings), "listing");
  return listing ? "accepted" : listing.error().message;
}

TEST(Listing, Reads) {
  const auto listing = parse_listing(
      listing_json(R"({"rfilename":"config.json","size":10,"blobId":")" + kSha1 +
                   R"("},{"rfilename":"w.gguf","size":134,"blobId":")" + kSha1 + R"(","lfs":{"sha256":")" +
                   kSha256 + R"(","size":5000000000,"pointerSize":134}},)" +
                   R"({"rfilename":"bare"},{"rfilename":"half","blobId":")" + kSha1 + R"("})"),
      "listing");
  ASSERT_TRUE(listing) << listing.error().message;
  EXPECT_EQ(listing->commit, kCommit);
  ASSERT_EQ(listing->files.size(), 4U);
  EXPECT_EQ(listing->find("config.json")->etag, kSha1);
  EXPECT_EQ(listing->find("config.json")->size, 10U);
  EXPECT_EQ(listing->find("w.gguf")->etag, kSha256);
  EXPECT_EQ(listing->find("w.gguf")->size, 5000000000U);
  EXPECT_EQ(listing->find("bare")->etag, "");
  EXPECT_EQ(listing->find("half")->etag, "");
  EXPECT_EQ(listing->find("absent"), nullptr);
}

TEST(Listing, RefusesWhatIsWrong) {
  EXPECT_THAT(parse_listing("{", "listing").error().message, HasSubstr("listing"));
  EXPECT_THAT(parse_listing("[]", "listing").error().message, HasSubstr("is not the listing"));
  EXPECT_THAT(parse_listing(R"({"sha":"main","siblings":[]})", "l").error().message, HasSubstr("field 'sha'"));
  EXPECT_THAT(parse_listing(R"({"sha":")" + kCommit + "\"}", "l").error().message, HasSubstr("'siblings'"));
  EXPECT_THAT(error_of("1"), HasSubstr("is not an object"));
  EXPECT_THAT(error_of(R"({"rfilename":7})"), HasSubstr("'rfilename'"));
  for (const char* name : {"../../.bashrc", "/etc/passwd", "a/../../b", "", "a\\\\b", "a\\u0000b", "a\\nb"})
    EXPECT_THAT(error_of(R"({"rfilename":")" + std::string(name) + "\"}"), HasSubstr("no safe name")) << name;
  EXPECT_THAT(error_of(R"({"rfilename":"a"},{"rfilename":"a"})"), HasSubstr("twice"));
  for (const char* size : {"-1", "1.5", "\"1\"", "1e30", "18446744073709551615"})
    EXPECT_THAT(error_of(R"({"rfilename":"a","blobId":")" + kSha1 + R"(","size":)" + size + "}"),
                HasSubstr("no size"))
        << size;
  for (const std::string& sum : {kSha256, std::string("../../../x"), std::string(40, 'G')})
    EXPECT_THAT(error_of(R"({"rfilename":"a","size":1,"blobId":")" + sum + "\"}"), HasSubstr("checksum"));
  EXPECT_THAT(error_of(R"({"rfilename":"a","size":1,"lfs":{"sha256":")" + kSha1 + "\"}}"),
              HasSubstr("checksum"));
}

TEST(Listing, HeadersSayWhatItLacks) {
  RepoFile file{"w.gguf", 0, ""};
  Response response;
  response.first = {{"etag", "\"other\""},
                    {"x-linked-etag", "\"" + kSha256 + "\""},
                    {"x-linked-size", "77"},
                    {"content-length", "5"}};
  ASSERT_TRUE(complete_from_headers(file, response));
  EXPECT_EQ(file.etag, kSha256);
  EXPECT_EQ(file.size, 77U);
  response.first = {{"etag", "W/\"" + kSha1 + "\""}, {"content-length", "5"}};
  ASSERT_TRUE(complete_from_headers(file, response));
  EXPECT_EQ(file.etag, kSha1);
  EXPECT_EQ(file.size, 5U);
  for (const char* etag : {"", "../../x", "\"\""}) {
    response.first["etag"] = etag;
    EXPECT_FALSE(complete_from_headers(file, response)) << etag;
  }
  response.first["etag"] = kSha1;
  for (const char* size : {"", "-5", "5x", "99999999999999999999"}) {
    response.first["content-length"] = size;
    EXPECT_FALSE(complete_from_headers(file, response)) << size;
  }
}

TEST(Explain, NamesTheRepositoryAndTheWayOut) {
  Settings settings;
  settings.endpoint = "https://hub";
  Outcome outcome;
  outcome.response.status = 401;
  EXPECT_THAT(explain(outcome, settings, "o/n", "main", "").message,
              AllOf(HasSubstr("o/n"), HasSubstr("no such repository"), HasSubstr("HF_TOKEN")));
  outcome.response.headers = {{"x-error-code", "GatedRepo"}, {"x-error-message", "Ask\x1B[2J first"}};
  EXPECT_THAT(explain(outcome, settings, "o/n", "main", "").message,
              AllOf(HasSubstr("accept its terms on https://hub/o/n"), HasSubstr("HF_TOKEN"), HasSubstr("Ask"),
                    Not(HasSubstr("\x1B"))));
  settings.token = "hf_secret";
  EXPECT_THAT(explain(outcome, settings, "o/n", "main", "").message,
              AllOf(HasSubstr("account that accepted"), Not(HasSubstr("hf_secret"))));
  outcome.response.headers = {{"x-error-code", "RevisionNotFound"}};
  EXPECT_THAT(explain(outcome, settings, "o/n", "dev", "").message, HasSubstr("no revision 'dev'"));
}

// ---------------------------------------------------------------- which files

Listing listing_of(const std::vector<std::string>& paths) {
  Listing listing{kCommit, {}};
  for (const std::string& path : paths) listing.files.push_back({path, 1, kSha1});
  return listing;
}
std::vector<std::string> chosen(const std::vector<std::string>& paths, const std::string& id = "o/n",
                                Need need = Need::model) {
  const auto choice = choose_files(listing_of(paths), *parse_model_id(id), need);
  if (!choice) return {choice.error().message};
  std::vector<std::string> names;
  for (const RepoFile& file : choice->files) names.push_back(file.path);
  return names;
}

TEST(ChooseFiles, Safetensors) {
  EXPECT_THAT(chosen({"README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json",
                      "onnx/model.onnx", "a.gguf"}),
              ElementsAre("config.json", "tokenizer.json", "model.safetensors"));
  EXPECT_THAT(chosen({"config.json", "weights.safetensors"}),
              ElementsAre("config.json", "weights.safetensors"));
  EXPECT_THAT(chosen({"config.json", "model.safetensors", "tokenizer.json"}, "o/n", Need::tokenizer),
              ElementsAre("config.json", "tokenizer.json"));
  EXPECT_THAT(chosen({"config.json", "a.safetensors", "b.safetensors"}),
              ElementsAre(HasSubstr("several safetensors files (a.safetensors, b.safetensors)")));
  const auto sharded =
      choose_files(listing_of({"config.json", "model.safetensors.index.json",
                               "model-00001-of-00001.safetensors", "consolidated.safetensors"}),
                   *parse_model_id("o/n"), Need::model);
  EXPECT_EQ(sharded->index, "model.safetensors.index.json");
  EXPECT_EQ(sharded->files.size(), 2U);
  EXPECT_THAT(sharded->absent, ::testing::Contains("tokenizer.json"));
}

TEST(ChooseFiles, Ggufs) {
  EXPECT_THAT(chosen({"README.md", "a.gguf"}), ElementsAre("a.gguf"));
  EXPECT_THAT(chosen({"config.json", "a.gguf", "b.gguf"}),
              ElementsAre(AllOf(HasSubstr("several GGUF files (a.gguf, b.gguf)"), HasSubstr("o/n/a.gguf"))));
  const std::vector<std::string> many{"m-IQ4_K.gguf", "m-Q4_K.gguf", "m-Q4_K_M.gguf",
                                      "Q8_0/m-q8_0-00002-of-00002.gguf", "Q8_0/m-q8_0-00001-of-00002.gguf"};
  EXPECT_THAT(chosen(many, "o/n:q4_k"), ElementsAre("m-Q4_K.gguf"));
  EXPECT_THAT(chosen(many, "o/n:Q4_K_M"), ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_THAT(chosen(many, "o/n:Q8_0"),
              ElementsAre("Q8_0/m-q8_0-00001-of-00002.gguf", "Q8_0/m-q8_0-00002-of-00002.gguf"));
  EXPECT_THAT(chosen(many, "o/n/Q8_0/m-q8_0-00002-of-00002.gguf").front(), "Q8_0/m-q8_0-00001-of-00002.gguf");
  EXPECT_THAT(chosen(many, "o/n/m-IQ4_K.gguf"), ElementsAre("m-IQ4_K.gguf"));
  EXPECT_THAT(chosen(many, "o/n:Q2_K"),
              ElementsAre(AllOf(HasSubstr("no GGUF 'Q2_K'"), HasSubstr("m-Q4_K.gguf"))));
  EXPECT_THAT(chosen({"a-q8_0.gguf", "b-q8_0.gguf"}, "o/n:Q8_0"), ElementsAre(HasSubstr("that fit 'Q8_0'")));
  EXPECT_THAT(chosen({"a-00001-of-00002.gguf", "a-00001-of-00001.gguf"}), ElementsAre(HasSubstr("several")));
}

TEST(ChooseFiles, PicklesNever) {
  EXPECT_THAT(
      chosen({"config.json", "pytorch_model.bin"}),
      ElementsAre(AllOf(HasSubstr("o/n"), HasSubstr("pytorch_model.bin"), HasSubstr("save_pretrained"))));
  EXPECT_THAT(chosen({"README.md"}), ElementsAre(HasSubstr("neither safetensors")));
  EXPECT_THAT(chosen({"config.json", "sub/model.safetensors"}), ElementsAre(HasSubstr("neither safetensors")));
}

TEST(ChooseFiles, ShardsOfAnIndex) {
  const Listing listing = listing_of({"a.safetensors", "b.safetensors"});
  const auto shards = shards_of_index(
      R"({"weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors"}})", "i", listing);
  ASSERT_TRUE(shards);
  EXPECT_EQ(shards->size(), 2U);
  const auto error = [&](const char* json) { return shards_of_index(json, "index", listing).error().message; };
  EXPECT_THAT(error(R"({"weight_map":{"x":"c.safetensors"}})"), HasSubstr("does not hold"));
  EXPECT_THAT(error(R"({"weight_map":{"x":"../a.safetensors"}})"), HasSubstr("no name of a safetensors file"));
  EXPECT_THAT(error(R"({"weight_map":{"x":"pytorch_model.bin"}})"), HasSubstr("no name of a safetensors file"));
  EXPECT_THAT(error(R"({"weight_map":{"x":1}})"), HasSubstr("not a text"));
  EXPECT_THAT(error("{}"), HasSubstr("weight_map"));
  EXPECT_THAT(error("[]"), HasSubstr("weight_map"));
}

// ---------------------------------------------------------------- the cache

TEST(RepoCache, Layout) {
  const TempFolder folder;
  const RepoCache cache(folder.path(), "org/name");
  ASSERT_TRUE(cache.prepare());
  touch(cache.blob(kSha1), "{}");
  ASSERT_TRUE(cache.link(kCommit, "config.json", kSha1));
  ASSERT_TRUE(cache.link(kCommit, "a/b/config.json", kSha1));
  ASSERT_TRUE(cache.link(kCommit, "config.json", kSha1));  // again
  ASSERT_TRUE(cache.mark_absent(kCommit, "a/tokenizer.json"));
  ASSERT_TRUE(cache.write_ref("refs/pr/1", kCommit));
  ASSERT_TRUE(cache.write_ref(kCommit, kCommit));
  const fs::path repo = folder / "models--org--name";
  EXPECT_EQ(fs::read_symlink(repo / "snapshots" / kCommit / "config.json"), "../../blobs/" + kSha1);
  EXPECT_EQ(fs::read_symlink(repo / "snapshots" / kCommit / "a/b/config.json"), "../../../../blobs/" + kSha1);
  EXPECT_EQ(*read_file(repo / "snapshots" / kCommit / "a/b/config.json", 10), "{}");
  EXPECT_TRUE(fs::is_regular_file(repo / ".no_exist" / kCommit / "a/tokenizer.json"));
  EXPECT_EQ(*read_file(repo / "refs/refs/pr/1", 100), kCommit);
  EXPECT_EQ(*cache.commit_of("refs/pr/1"), kCommit);
  EXPECT_EQ(*cache.commit_of("main"), "");
  EXPECT_EQ(*cache.commit_of(kCommit), kCommit);
  EXPECT_EQ(*cache.commit_of(std::string(40, 'd')), "");
  EXPECT_EQ(cache.lock("e"), folder / ".locks/models--org--name/e.lock");
  EXPECT_EQ(display_name_of(repo / "snapshots" / kCommit), "name");
  EXPECT_EQ(display_name_of(folder / "plain"), "plain");
}

TEST(RepoCache, BadRefs) {
  const TempFolder folder;
  const RepoCache cache(folder.path(), "org/name");
  for (const char* bad : {"../..", "", ".", "a/b", "-x"}) {
    touch(cache.folder() / "refs/main", bad);
    EXPECT_THAT(cache.commit_of("main").error().message, HasSubstr("is not a commit")) << bad;
  }
}

TEST(FileLock, IsExclusive) {
  const TempFolder folder;
  auto first = FileLock::try_lock(folder / "a.lock");
  ASSERT_TRUE(first && *first);
  EXPECT_EQ(*FileLock::try_lock(folder / "a.lock"), nullptr);
  first->reset();
  EXPECT_NE(*FileLock::try_lock(folder / "a.lock"), nullptr);
  EXPECT_FALSE(FileLock::try_lock(folder / "absent/a.lock"));
}

// ---------------------------------------------------------------- blobs

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// What `git hash-object` and `sha256sum` say of "hello\n".
const std::string kHelloGit = "ce013625030ba8dba906f756967f9e9ca394464a";
const std::string kHelloSha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

TEST(BlobDigest, OfGitAndOfLfs) {
  for (const std::string& expected : {kHelloGit, kHelloSha256}) {
    BlobDigest digest(expected, 6);
    digest.update(bytes_of("hel"));
    digest.update(bytes_of("lo\n"));
    EXPECT_EQ(digest.finish(), expected);
  }
}

TEST(IncompleteBlob, GoesOnWhereItStopped) {
  const TempFolder folder;
  const fs::path blob = folder / kHelloSha256;
  {
    auto first = IncompleteBlob::open(blob, kHelloSha256, 6, {});
    ASSERT_TRUE(first);
    ASSERT_TRUE((*first)->append(bytes_of("hel")));
  }
  EXPECT_EQ(*read_file(blob.string() + ".incomplete", 10), "hel");
  auto second = IncompleteBlob::open(blob, kHelloSha256, 6, {});
  ASSERT_TRUE(second);
  EXPECT_EQ((*second)->position(), 3U);
  EXPECT_THAT((*second)->append(bytes_of("lo\n!")).error().message, HasSubstr("more than the 6 bytes"));
  ASSERT_TRUE((*second)->append(bytes_of("lo\n")));
  EXPECT_TRUE(*(*second)->finish());
  EXPECT_EQ(*read_file(blob, 10), "hello\n");
  EXPECT_FALSE(fs::exists(blob.string() + ".incomplete"));
}

TEST(IncompleteBlob, WrongChecksumBeginsAnew) {
  const TempFolder folder;
  const fs::path blob = folder / kHelloGit;
  touch(blob.string() + ".incomplete", "hex");
  auto opened = IncompleteBlob::open(blob, kHelloGit, 6, {});
  ASSERT_TRUE((*opened)->append(bytes_of("lo\n")));
  EXPECT_FALSE(*(*opened)->finish());
  EXPECT_EQ((*opened)->position(), 0U);
  ASSERT_TRUE((*opened)->append(bytes_of("hello\n")));
  EXPECT_TRUE(*(*opened)->finish());
  EXPECT_TRUE(fs::exists(blob));
}

TEST(IncompleteBlob, LongerThanTheFileBeginsAnewAndNothingLeavesNothing) {
  const TempFolder folder;
  const fs::path blob = folder / kHelloGit;
  touch(blob.string() + ".incomplete", "seven b");
  {
    const auto opened = IncompleteBlob::open(blob, kHelloGit, 6, {});
    EXPECT_EQ((*opened)->position(), 0U);
  }
  EXPECT_FALSE(fs::exists(blob.string() + ".incomplete"));
  touch(blob.string() + ".incomplete", "hel");
  Progress stopped;
  stopped.cancelled = [] { return true; };
  EXPECT_EQ(IncompleteBlob::open(blob, kHelloGit, 6, stopped).error().kind, ErrorKind::cancelled);
  EXPECT_EQ(*read_file(blob.string() + ".incomplete", 10), "hel");
}

// ---------------------------------------------------------------- finding

class FindOffline : public ::testing::Test {
 protected:
  FindOffline() {
    environment_.set("HF_HUB_OFFLINE", "1");
    environment_.set("HF_HUB_CACHE", folder_ / "hub");
  }
  std::string find_error(const std::string& model, const std::string& revision = "") {
    const auto found = find_model(model, {.revision = revision}, {});
    return found ? found->path.string() : found.error().message;
  }
  [[nodiscard]] fs::path snapshot() const { return folder_ / "hub/models--org--name/snapshots" / kCommit; }

  TempFolder folder_;
  Environment environment_;
};

TEST_F(FindOffline, InTheCache) {
  EXPECT_THAT(find_error("org/name"),
              AllOf(HasSubstr("org/name"), HasSubstr("no revision 'main'"), HasSubstr("HF_HUB_OFFLINE")));
  touch(folder_ / "hub/models--org--name/refs/main", kCommit + "\n");
  EXPECT_THAT(find_error("org/name"), HasSubstr("is absent"));
  touch(snapshot() / "config.json", "{}");
  EXPECT_THAT(find_error("org/name"), HasSubstr("lacks model.safetensors"));
  touch(snapshot() / "model.safetensors.index.json",
        R"({"weight_map":{"a":"x.safetensors","b":"y.safetensors"}})");
  touch(snapshot() / "x.safetensors");
  EXPECT_THAT(find_error("org/name"), HasSubstr("lacks y.safetensors"));
  touch(snapshot() / "y.safetensors");
  EXPECT_EQ(find_error("org/name"), snapshot().string());
  EXPECT_EQ(find_error("org/name", kCommit), snapshot().string());
  EXPECT_EQ(find_error("org/name@" + kCommit), snapshot().string());
  EXPECT_THAT(find_error("org/name", "dev"), HasSubstr("no revision 'dev'"));
  touch(snapshot() / "sub/a-Q4_K_M.gguf");
  EXPECT_EQ(find_error("org/name:q4_k_m"), (snapshot() / "sub/a-Q4_K_M.gguf").string());
}

TEST_F(FindOffline, LocalPathsWin) {
  touch(folder_ / "org/name/config.json", "{}");
  const fs::path here = fs::current_path();
  fs::current_path(folder_.path());
  const std::string found = find_error("org/name"), with_revision = find_error("org/name", "main");
  fs::current_path(here);
  EXPECT_EQ(found, "org/name");
  EXPECT_THAT(with_revision, HasSubstr("is no model of the hub"));
  EXPECT_THAT(find_error("out/model.gguf"), HasSubstr("no such file or folder"));
  EXPECT_THAT(find_error("../name"), HasSubstr("no such file or folder"));
  EXPECT_THAT(find_error("org/name@a", "b"), HasSubstr("names a revision"));
  EXPECT_THAT(find_error("org/name", "../.."), HasSubstr("no name of a branch"));
}

TEST(Settings, OfTheEnvironment) {
  const TempFolder folder;
  Environment environment;
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_TOKEN",
                           "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "HF_HUB_OFFLINE",
                           "TRANSFORMERS_OFFLINE", "HF_HUB_DOWNLOAD_TIMEOUT"})
    environment.set(name, "");
  environment.set("HOME", folder.path());
  EXPECT_EQ(hub_cache(), folder / ".cache/huggingface/hub");
  EXPECT_EQ(settings_of_environment()->token, "");
  environment.set("XDG_CACHE_HOME", folder / "xdg");
  EXPECT_EQ(hub_cache(), folder / "xdg/huggingface/hub");
  environment.set("HF_HOME", "~/home");
  EXPECT_EQ(hub_cache(), folder / "home/hub");
  touch(folder / "home/token", " hf_of_file\n");
  EXPECT_EQ(settings_of_environment()->token, "hf_of_file");
  environment.set("HF_TOKEN", "hf_of_variable\n");
  EXPECT_EQ(settings_of_environment()->token, "hf_of_variable");
  environment.set("HF_TOKEN", "two\r\nX-Injected: header");
  EXPECT_THAT(settings_of_environment().error().message,
              AllOf(HasSubstr("HF_TOKEN"), Not(HasSubstr("Injected"))));
  environment.set("HF_TOKEN", "t");
  environment.set("HF_ENDPOINT", "http://mirror:80/hub//");
  EXPECT_EQ(settings_of_environment()->endpoint, "http://mirror:80/hub");
  for (const char* bad : {"mirror", "ftp://x", "https://user:pw@x", "http://a b", "http://a?b"}) {
    environment.set("HF_ENDPOINT", bad);
    EXPECT_THAT(settings_of_environment().error().message, HasSubstr("HF_ENDPOINT")) << bad;
  }
  environment.set("HF_ENDPOINT", "");
  environment.set("HF_HUB_OFFLINE", "yes");
  EXPECT_TRUE(settings_of_environment()->offline);
  environment.set("HF_HUB_DOWNLOAD_TIMEOUT", "soon");
  EXPECT_THAT(settings_of_environment().error().message, HasSubstr("HF_HUB_DOWNLOAD_TIMEOUT"));
}

}  // namespace
}  // namespace lissom::hub
