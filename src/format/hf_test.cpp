#include "format/hf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "hostile/bytes.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TempFolder;
namespace fs = std::filesystem;

void touch(const fs::path& path, const std::string& text = "") {
  fs::create_directories(path.parent_path());
  ASSERT_TRUE(write_file(path, text));
}

std::string error_of(const std::string& model) {
  const auto resolved = resolve_model(model);
  return resolved ? "resolved" : resolved.error().message;
}

TEST(ResolveModel, FilesAndFolders) {
  const TempFolder folder;
  touch(folder / "hf/config.json");
  touch(folder / "hf/model.safetensors");
  touch(folder / "one/a.gguf");
  touch(folder / "two/a.gguf");
  touch(folder / "two/b.gguf");
  touch(folder / "split/a-00001-of-00002.gguf");
  touch(folder / "split/a-00002-of-00002.gguf");
  fs::create_directories(folder / "none");
  EXPECT_EQ(resolve_model(folder / "hf")->kind, ModelKind::hf_folder);
  EXPECT_EQ(resolve_model(folder / "hf/config.json")->path, folder / "hf");
  EXPECT_EQ(resolve_model(folder / "hf/model.safetensors")->path, folder / "hf");
  EXPECT_EQ(resolve_model(folder / "one")->path, folder / "one/a.gguf");
  EXPECT_EQ(resolve_model(folder / "one/a.gguf")->kind, ModelKind::gguf);
  EXPECT_EQ(resolve_model(folder / "split")->path, folder / "split/a-00001-of-00002.gguf");
  EXPECT_THAT(error_of(folder / "two"), HasSubstr("several GGUF files (a.gguf, b.gguf)"));
  EXPECT_THAT(error_of(folder / "none"), HasSubstr("neither config.json"));
  EXPECT_THAT(error_of(folder / "absent.gguf"), HasSubstr("no such file"));
  EXPECT_THAT(error_of(""), HasSubstr("empty"));
}

TEST(HfWeights, PicklesAreRefusedWithTheWayOut) {
  const TempFolder folder;
  touch(folder / "config.json");
  touch(folder / "pytorch_model.bin", "\x80\x02 a pickle");
  const auto weights = open_hf_weights(folder.path());
  ASSERT_FALSE(weights);
  EXPECT_EQ(weights.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(weights.error().message, AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("save_pretrained")));
  EXPECT_THAT(error_of(folder / "pytorch_model.bin"), HasSubstr("save_pretrained"));
}

TEST(HfWeights, Opens) {
  const TempFolder folder;
  EXPECT_THAT(open_hf_weights(folder.path()).error().message, HasSubstr("no model.safetensors"));
  touch(folder / "other.safetensors", hostile::small_safetensors());
  EXPECT_EQ(open_hf_weights(folder.path()).value()->tensors().size(), 4U);
  touch(folder / "another.safetensors", hostile::small_safetensors());
  EXPECT_THAT(open_hf_weights(folder.path()).error().message, HasSubstr("2 .safetensors files"));
  touch(folder / "model.safetensors", hostile::small_safetensors());
  EXPECT_EQ(open_hf_weights(folder.path()).value()->tensors().size(), 4U);
  touch(folder / "pytorch_model.bin");  // beside safetensors it is simply not looked at
  EXPECT_TRUE(open_hf_weights(folder.path()));
}

}  // namespace
}  // namespace lissom
