#include "hub/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <vector>

#include "base/text.h"

namespace lissom::hub {
namespace {

constexpr int kMostRedirects = 10;
constexpr size_t kMostHeaderBytes = 256U << 10;
constexpr size_t kMostErrorText = 4096;
constexpr size_t kMostUnwanted = 64U << 10;  // of a body that nobody reads: a redirect's, an error's
constexpr int kMostAttempts = 5;
constexpr double kLongestWait = 300;

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool worth_another_attempt(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

/// One request on its way through its redirects.
struct Exchange {
  int id = 0;
  Request request;
  std::string url, endpoint_origin;
  int hops = 0;
  CURL* easy = nullptr;
  curl_slist* lines = nullptr;
  char error_text[CURL_ERROR_SIZE] = "";

  Response response;
  size_t header_bytes = 0, unwanted = 0;
  bool begun = false, enough = false;
  std::optional<Error> refusal;

  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    curl_slist_free_all(lines);
  }

  [[nodiscard]] bool at_endpoint() const { return origin_of(url) == endpoint_origin; }

  bool header(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > kMostHeaderBytes) {
      refusal = Error{ErrorKind::bad_input, "the answer's headers do not end"};
      return false;
    }
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("HTTP/")) {  // of the answer, or of "100 Continue" before it
      response.headers.clear();
      return true;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
    response.headers[lower(line.substr(0, colon))] = value;
    return true;
  }

  /// The status line and headers are complete.
  void settle() {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    response.status = static_cast<int>(status);
    response.by_endpoint = at_endpoint();
    if (hops == 0 || response.by_endpoint) response.first = response.headers;
    curl_off_t seconds = 0;
    if (curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK)
      response.retry_after = static_cast<double>(seconds);
  }

  bool begin() {
    if (begun) return true;
    begun = true;
    settle();
    if (response.status / 100 != 2 || !request.begin) return true;
    if (auto good = request.begin(response); !good) refusal = std::move(good).error();
    return !refusal;
  }

  bool body(std::span<const std::byte> data) {
    if (!begin()) return false;
    if (response.status / 100 == 2) {
      if (!request.body) return true;
      if (auto good = request.body(data); !good) refusal = std::move(good).error();
      return !refusal;
    }
    const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
    if (response.text.size() < kMostErrorText)
      response.text += text.substr(0, kMostErrorText - response.text.size());
    unwanted += data.size();
    enough = unwanted > kMostUnwanted;
    return !enough;
  }
};

size_t on_header(char* data, size_t size, size_t n, void* exchange) {
  return static_cast<Exchange*>(exchange)->header({data, size * n}) ? size * n : 0;
}
size_t on_body(char* data, size_t size, size_t n, void* exchange) {
  const std::span<const char> bytes(data, size * n);
  return static_cast<Exchange*>(exchange)->body(std::as_bytes(bytes)) ? size * n : 0;
}

}  // namespace

struct Http::State {
  Settings settings;
  std::string origin;
  CURLM* multi = nullptr;
  std::vector<std::unique_ptr<Exchange>> exchanges;
  int next_id = 0;

  void drop_all() {
    for (const auto& exchange : exchanges) curl_multi_remove_handle(multi, exchange->easy);
    exchanges.clear();
  }
  ~State() {
    drop_all();
    if (multi != nullptr) curl_multi_cleanup(multi);
  }

  void add_header(Exchange& e, const std::string& line) const {
    if (curl_slist* more = curl_slist_append(e.lines, line.c_str())) e.lines = more;
  }

  /// Sends the exchange to its `url`.
  Result<void> send(Exchange& e) {
    e.easy = curl_easy_init();
    if (e.easy == nullptr) return io_error("libcurl: out of memory");
    CURL* c = e.easy;
    Headers first = std::move(e.response.first);
    e.response = {};
    e.response.first = std::move(first);
    e.header_bytes = e.unwanted = 0;
    e.begun = e.enough = false;
    if (e.at_endpoint()) {
      if (!settings.token.empty()) add_header(e, "Authorization: Bearer " + settings.token);
      if (!e.request.if_range.empty()) add_header(e, "If-Range: \"" + e.request.if_range + "\"");
    }
    add_header(e, "Accept-Encoding: identity");  // sizes and ranges are those of the file
    curl_easy_setopt(c, CURLOPT_URL, e.url.c_str());
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, e.lines);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    // One connection for each file: streams of HTTP/2 would share one connection's window.
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(c, CURLOPT_USERAGENT, "lissom/" LISSOM_VERSION);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_NOBODY, e.request.head ? 1L : 0L);
    if (!e.request.range.empty()) curl_easy_setopt(c, CURLOPT_RANGE, e.request.range.c_str());
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, static_cast<long>(settings.timeout));
    curl_easy_setopt(c, CURLOPT_TIMEOUT, static_cast<long>(e.request.total_timeout));
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
    if (!settings.certificates.empty()) curl_easy_setopt(c, CURLOPT_CAINFO, settings.certificates.c_str());
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, e.error_text);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &e);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &e);
    curl_easy_setopt(c, CURLOPT_PRIVATE, &e);
    if (const CURLMcode code = curl_multi_add_handle(multi, c); code != CURLM_OK)
      return io_error(std::string("libcurl: ") + curl_multi_strerror(code));
    return {};
  }

  /// Goes on to where a redirect leads; false where the answer is to be taken as it is.
  Result<bool> follow(Exchange& e) {
    if (!is_redirect(e.response.status)) return false;
    const std::string location = e.response.header("location");
    if (location.empty()) return false;
    LISSOM_TRY(std::string target, redirect_target(e.url, location));
    if (e.request.head && origin_of(target) != origin) return false;
    if (++e.hops > kMostRedirects)
      return bad_input(e.request.url + ": more than " + std::to_string(kMostRedirects) + " redirects");
    e.url = std::move(target);
    curl_easy_cleanup(e.easy);
    curl_slist_free_all(e.lines);
    e.easy = nullptr;
    e.lines = nullptr;
    LISSOM_CHECK(send(e));
    return true;
  }

  /// What became of an exchange that libcurl ended; nothing where it goes on elsewhere.
  std::optional<Outcome> end(Exchange& e, CURLcode code) {
    const auto refused = [&](Error error) {
      return Outcome{Outcome::Kind::refused, std::move(e.response), std::move(error)};
    };
    if (e.refusal) return refused(std::move(*e.refusal));
    if (code != CURLE_OK && !e.enough) {
      const std::string why = e.error_text[0] != '\0' ? e.error_text : curl_easy_strerror(code);
      const Error error{ErrorKind::io, origin_of(e.url) + ": " + printable(why, 300)};
      if (!worth_another_attempt(code)) return refused(error);
      return Outcome{Outcome::Kind::dropped, std::move(e.response), error};
    }
    if (!e.begin()) return refused(std::move(*e.refusal));
    const auto elsewhere = follow(e);
    if (!elsewhere) return refused(elsewhere.error());
    if (*elsewhere) return {};
    return Outcome{Outcome::Kind::answered, std::move(e.response), {}};
  }
};

Result<std::unique_ptr<Http>> Http::create(const Settings& settings) {
  static std::once_flag once;
  static CURLcode ready = CURLE_FAILED_INIT;
  std::call_once(once, [] { ready = curl_global_init(CURL_GLOBAL_DEFAULT); });
  if (ready != CURLE_OK) return io_error(std::string("libcurl: ") + curl_easy_strerror(ready));
  std::unique_ptr<Http> http(new Http());
  http->state_ = std::make_unique<State>();
  http->state_->settings = settings;
  http->state_->origin = origin_of(settings.endpoint);
  if (http->state_->origin.empty()) return bad_input("HF_ENDPOINT: " + in_quotes(settings.endpoint));
  http->state_->multi = curl_multi_init();
  if (http->state_->multi == nullptr) return io_error("libcurl: out of memory");
  return http;
}

Http::~Http() = default;

Result<int> Http::start(Request request) {
  auto e = std::make_unique<Exchange>();
  e->id = state_->next_id++;
  e->url = request.url;
  e->endpoint_origin = state_->origin;
  e->request = std::move(request);
  LISSOM_CHECK(state_->send(*e));
  state_->exchanges.push_back(std::move(e));
  return state_->exchanges.back()->id;
}

std::optional<Http::Finished> Http::wait(int milliseconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (true) {
    int running = 0, left = 0;
    curl_multi_perform(state_->multi, &running);
    while (const CURLMsg* message = curl_multi_info_read(state_->multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      CURL* easy = message->easy_handle;
      curl_multi_remove_handle(state_->multi, easy);  // `message` is gone with it
      const auto at = std::ranges::find_if(state_->exchanges, [&](const auto& e) { return e->easy == easy; });
      if (at == state_->exchanges.end()) continue;
      std::optional<Outcome> outcome = state_->end(**at, code);
      if (!outcome) continue;
      Finished finished{(*at)->id, std::move(*outcome)};
      state_->exchanges.erase(at);
      return finished;
    }
    const auto now = std::chrono::steady_clock::now();
    if (now >= until) return {};
    const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(until - now).count() + 1;
    curl_multi_poll(state_->multi, nullptr, 0, static_cast<int>(rest), nullptr);
  }
}

void Http::stop_all() {
  state_->drop_all();
}

std::string Response::header(std::string_view name) const {
  const auto at = headers.find(name);
  return at == headers.end() ? "" : at->second;
}

bool Outcome::transient() const {
  if (kind != Kind::answered) return kind == Kind::dropped;
  const int s = response.status;
  return s == 408 || s == 429 || s == 500 || s == 502 || s == 503 || s == 504;
}

std::optional<double> Backoff::next(const Outcome& outcome) {
  if (!outcome.transient() || ++attempts_ >= kMostAttempts) return {};
  const double pause = 0.5 * static_cast<double>(1 << (attempts_ - 1));
  const double wanted = outcome.kind == Outcome::Kind::answered ? outcome.response.retry_after : 0;
  if (wanted > kLongestWait) return {};
  return std::max(pause, wanted);
}

Result<Text> fetch_text(Http& http, const TextRequest& wanted, const Progress& progress) {
  using Clock = std::chrono::steady_clock;
  constexpr int kTotalTimeout = 120;
  Backoff backoff;
  while (true) {
    Text text;
    Request request;
    request.url = wanted.url;
    request.head = wanted.head;
    request.range = wanted.range;
    request.total_timeout = kTotalTimeout;
    request.body = [&](std::span<const std::byte> data) -> Result<void> {
      const size_t room = wanted.limit - text.body.size();
      text.body.append(reinterpret_cast<const char*>(data.data()), std::min(room, data.size()));
      if (data.size() <= room && !(wanted.cut && data.size() == room)) return {};
      return bad_input(wanted.url + ": the answer is longer than " + std::to_string(wanted.limit) + " bytes");
    };
    LISSOM_CHECK(http.start(std::move(request)));
    std::optional<Http::Finished> finished;
    while (!(finished = http.wait(100))) {
      if (!progress.stop_requested()) continue;
      http.stop_all();
      return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    }
    text.outcome = std::move(finished->outcome);
    const std::optional<double> pause = wanted.retry ? backoff.next(text.outcome) : std::nullopt;
    if (!pause) return text;
    const auto until = Clock::now() + std::chrono::duration<double>(*pause);
    while (Clock::now() < until) {
      if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
      (void)http.wait(50);
    }
  }
}

}  // namespace lissom::hub
