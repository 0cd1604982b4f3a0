#pragma once
// HTTP through libcurl, several requests at once in one thread. Redirects are followed here and not by libcurl,
// so that it is plain which host gets which header: the token goes to the endpoint's own scheme, host and port
// and nowhere else, and https never becomes http.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "hub/settings.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom::hub {

using Headers = std::map<std::string, std::string, std::less<>>;  ///< names in lower case

struct Response {
  int status = 0;
  Headers headers;   ///< of the answer itself
  Headers first;     ///< of the endpoint's own answer, which may be a redirect: X-Linked-Etag and the like
  std::string text;  ///< the beginning of the body of an answer that is no success
  double retry_after = 0;   ///< seconds
  bool by_endpoint = true;  ///< false: a host that the endpoint redirected to said this
  [[nodiscard]] std::string header(std::string_view name) const;  ///< of `headers`; "" if absent
};

struct Request {
  std::string url;
  bool head = false;      ///< a redirect to another host ends it: what matters is in the endpoint's headers
  std::string range;      ///< "100-"; empty: all
  std::string if_range;   ///< an entity tag of the endpoint's own; sent to no other host
  int total_timeout = 0;  ///< seconds for all of it; 0: no end while bytes come
  std::function<Result<void>(const Response&)> begin;            ///< a success, before its body
  std::function<Result<void>(std::span<const std::byte>)> body;  ///< of a success, in parts
};

struct Outcome {
  enum class Kind {
    answered,  ///< `response` is the server's, whatever its status
    dropped,   ///< no answer, or not all of it: worth another attempt
    refused,   ///< begin, body or a rule of ours said no: `error` says why
  } kind = Kind::answered;
  Response response;
  Error error;
  [[nodiscard]] bool ok() const { return kind == Kind::answered && response.status / 100 == 2; }
  /// Dropped, or a status that asks to come again: 408, 429, 500, 502, 503, 504.
  [[nodiscard]] bool transient() const;
};

/// When to try again: half a second, then twice as long each time, or what Retry-After says; nothing after the
/// fourth time, or where the server wants more than five minutes.
class Backoff {
 public:
  [[nodiscard]] std::optional<double> next(const Outcome& outcome);
  void progress() { attempts_ = 0; }  ///< something was achieved: begin to count anew

 private:
  int attempts_ = 0;
};

class Http {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Http>> create(const Settings& settings);
  ~Http();
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;

  /// Begins a request; the number names it in wait().
  [[nodiscard]] Result<int> start(Request request);
  struct Finished {
    int id;
    Outcome outcome;
  };
  /// Works at what was started for at most so long, or until one of them ends.
  [[nodiscard]] std::optional<Finished> wait(int milliseconds);
  /// Drops all that was started; no callback is called after it.
  void stop_all();

 private:
  Http() = default;
  struct State;
  std::unique_ptr<State> state_;
};

struct TextRequest {
  std::string url;
  std::string range = {};  ///< "0-99"; empty: all
  size_t limit = 0;        ///< bytes; more of them are an error …
  bool cut = false;        ///< … or here not read any more
  bool head = false;
  bool retry = true;  ///< as Backoff says
};
struct Text {
  Outcome outcome;
  std::string body;
};
/// A small answer as text. An outcome that is no success is returned as it is (also that of a body that was
/// cut); Error is for a stop on request.
[[nodiscard]] Result<Text> fetch_text(Http& http, const TextRequest& wanted, const Progress& progress);

// Plain functions on addresses.

/// Percent-encodes all but letters, digits, "-._~" and, where `keep_slashes`, '/'.
[[nodiscard]] std::string encode_url(std::string_view text, bool keep_slashes);
/// "https://host:port", the default port written out; "" where it is no http(s) address.
[[nodiscard]] std::string origin_of(const std::string& url);
/// Where a redirect leads: only http(s), never from https to http, no user or password in it.
[[nodiscard]] Result<std::string> redirect_target(const std::string& from, const std::string& location);
/// W/"abc" and "abc" are abc.
[[nodiscard]] std::string plain_etag(std::string_view header);

}  // namespace lissom::hub
