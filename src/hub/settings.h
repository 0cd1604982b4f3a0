#pragma once
// The environment variables of huggingface_hub that matter here, with its meanings.

#include <filesystem>
#include <string>

#include "lissom/result.h"

namespace lissom::hub {

struct Settings {
  std::string endpoint = "https://huggingface.co";  ///< HF_ENDPOINT, without a slash at its end
  std::string token;                                ///< HF_TOKEN, else the file HF_TOKEN_PATH; empty: none
  std::filesystem::path cache;                      ///< where models--org--name folders lie
  bool offline = false;                             ///< HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE
  int timeout = 30;          ///< HF_HUB_DOWNLOAD_TIMEOUT: seconds without a byte until a connection is dropped
  std::string certificates;  ///< SSL_CERT_FILE; empty: the system's
};

/// HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
/// ~/.cache/huggingface/hub.
[[nodiscard]] std::filesystem::path hub_cache();
[[nodiscard]] Result<Settings> settings_of_environment();

}  // namespace lissom::hub
