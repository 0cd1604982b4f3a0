#pragma once
// Errors as values. Every function that can fail on outside input returns Result<T>; the library never prints,
// aborts or exits. What reaches a user is turned into text once: in the CLI, the server or the Python binding.

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace lissom {

enum class ErrorKind {
  bad_input,    ///< a file, flag or request is wrong; the message names the file and the field  (exit code 2)
  unsupported,  ///< well formed, but nothing here handles it; the message says what does         (exit code 2)
  io,           ///< the operating system refused: unreadable, disk full, no permission           (exit code 2)
  unavailable,  ///< a server failed or refused: the same command may go on later                (exit code 2)
  limit,        ///< done, but a limit that the user set is not met                               (exit code 1)
  cancelled,    ///< stopped on request
};

struct Error {
  ErrorKind kind = ErrorKind::bad_input;
  std::string message;

  /// The same error, said from one step further out: "context: message".
  [[nodiscard]] Error within(const std::string& context) const { return {kind, context + ": " + message}; }
};

template <class T = void>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> bad_input(std::string message) {
  return tl::unexpected<Error>(Error{ErrorKind::bad_input, std::move(message)});
}
[[nodiscard]] inline tl::unexpected<Error> unsupported(std::string message) {
  return tl::unexpected<Error>(Error{ErrorKind::unsupported, std::move(message)});
}
[[nodiscard]] inline tl::unexpected<Error> io_error(std::string message) {
  return tl::unexpected<Error>(Error{ErrorKind::io, std::move(message)});
}

#define LISSOM_CONCAT_(a, b) a##b
#define LISSOM_CONCAT(a, b) LISSOM_CONCAT_(a, b)
/// LISSOM_TRY(auto x, f());  declares x from the value of f(), or returns f()'s error.
#define LISSOM_TRY(declaration, expression)                                            \
  auto LISSOM_CONCAT(lissom_result_, __LINE__) = (expression);                         \
  if (!LISSOM_CONCAT(lissom_result_, __LINE__))                                        \
    return tl::unexpected(std::move(LISSOM_CONCAT(lissom_result_, __LINE__)).error()); \
  declaration = *std::move(LISSOM_CONCAT(lissom_result_, __LINE__))
/// LISSOM_CHECK(f());  returns f()'s error, for a Result<void>.
#define LISSOM_CHECK(expression) \
  if (auto lissom_check = (expression); !lissom_check) return tl::unexpected(std::move(lissom_check).error())

}  // namespace lissom
