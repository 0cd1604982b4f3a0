// Tokens of a template, with the white space rules of Jinja 3.1.

#include <algorithm>

#include "tokenizer/chat/syntax.h"
#include "tokenizer/unicode.h"

namespace lissom::chat {

std::string normalize_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

tl::unexpected<Error> error_at(std::string_view source, const std::string& origin, size_t at,
                               const std::string& message) {
  const std::string_view before = source.substr(0, std::min(at, source.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  const auto column =
      1 + std::count_if(before.begin() + static_cast<std::ptrdiff_t>(start), before.end(),
                        [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; });
  return bad_input(origin + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + message);
}

namespace {

using Kind = Token::Kind;

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& origin) : s_(source), origin_(origin) {}

  Result<std::vector<Token>> run() {
    while (i_ < s_.size()) LISSOM_CHECK(root());
    tokens_.push_back({Kind::end, "", s_.size()});
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] tl::unexpected<Error> wrong(size_t at, const std::string& message) const {
    return error_at(s_, origin_, at, message);
  }
  [[nodiscard]] char at(size_t i) const { return i < s_.size() ? s_[i] : '\0'; }
  [[nodiscard]] bool starts(size_t i, std::string_view what) const { return s_.substr(i).starts_with(what); }
  size_t after_space(size_t i) const {
    while (i < s_.size()) {
      const char* p = s_.data() + i;
      if (!is_space(unicode::decode(p))) break;
      i = static_cast<size_t>(p - s_.data());
    }
    return i;
  }

  /// Where text from `from` on ends before a tag with this control sign ('-', '+' or none).
  std::string_view text_before(size_t from, size_t tag, char sign, bool variable) const {
    const std::string_view text = s_.substr(from, tag - from);
    if (sign == '-') return text.substr(0, strip(text, false, true).size());
    if (sign == '+' || variable) return text;
    const size_t newline = text.rfind('\n');
    const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
    if (start == 0 && !line_starting_) return text;
    return start < text.size() && after_space(from + start) >= tag ? text.substr(0, start) : text;
  }
  void data(std::string_view text, size_t at) {
    if (!text.empty()) tokens_.push_back({Kind::data, std::string(text), at});
  }
  /// Behind "%}" and "#}": what the sign before it says about the white space that follows.
  void leave(size_t end, char sign) {
    i_ = end;
    if (sign == '-') {
      i_ = after_space(end);
    } else if (sign != '+' && at(end) == '\n') {
      ++i_;
    }
    line_starting_ = i_ > 0 && s_[i_ - 1] == '\n';
  }

  Result<void> root() {
    size_t tag = i_;
    for (;; ++tag) {
      tag = s_.find('{', tag);
      if (tag == std::string_view::npos) {
        data(s_.substr(i_), i_);
        i_ = s_.size();
        return {};
      }
      if (at(tag + 1) == '{' || at(tag + 1) == '%' || at(tag + 1) == '#') break;
    }
    const char type = at(tag + 1);
    const char sign = at(tag + 2) == '-' || at(tag + 2) == '+' ? at(tag + 2) : '\0';
    data(text_before(i_, tag, sign, type == '{'), i_);
    const size_t inside = tag + 2 + (sign == '\0' ? 0 : 1);
    line_starting_ = at(inside - 1) == '\n';
    if (type == '#') return comment(tag, inside);
    if (type == '%') {
      if (const size_t end = raw_begin(inside); end != 0) return raw(tag, end);
    }
    const Kind begin = type == '{' ? Kind::variable_begin : Kind::block_begin;
    tokens_.push_back({begin, "", tag});
    i_ = inside;
    return code(tag, type == '{');
  }

  Result<void> comment(size_t tag, size_t inside) {
    const size_t end = s_.find("#}", inside);
    if (end == std::string_view::npos) return wrong(tag, "a comment that does not end");
    const char sign = end > inside && (s_[end - 1] == '-' || s_[end - 1] == '+') ? s_[end - 1] : '\0';
    leave(end + 2, sign);
    return {};
  }

  /// Behind "{% raw %}", or 0.
  size_t raw_begin(size_t inside) const {
    size_t i = after_space(inside);
    if (!starts(i, "raw")) return 0;
    i = after_space(i + 3);
    if (starts(i, "-%}")) return after_space(i + 3);
    return starts(i, "%}") ? i + 2 : 0;
  }

  Result<void> raw(size_t tag, size_t begin) {
    line_starting_ = begin > 0 && s_[begin - 1] == '\n';
    for (size_t at_tag = s_.find("{%", begin); at_tag != std::string_view::npos;
         at_tag = s_.find("{%", at_tag + 1)) {
      const char sign = at(at_tag + 2) == '-' || at(at_tag + 2) == '+' ? at(at_tag + 2) : '\0';
      size_t i = after_space(at_tag + 2 + (sign == '\0' ? 0 : 1));
      if (!starts(i, "endraw")) continue;
      i = after_space(i + 6);
      const char close = at(i) == '-' || at(i) == '+' ? at(i) : '\0';
      if (close != '\0') ++i;
      if (!starts(i, "%}")) continue;
      data(text_before(begin, at_tag, sign, false), begin);
      leave(i + 2, close);
      return {};
    }
    return wrong(tag, "'raw' without 'endraw'");
  }

  Result<void> code(size_t tag, bool variable) {
    std::string open;
    for (;;) {
      i_ = after_space(i_);
      if (i_ >= s_.size()) return wrong(tag, variable ? "'{{' without '}}'" : "'{%' without '%}'");
      const size_t begin = i_;
      if (open.empty()) {
        const char sign = at(i_) == '-' || (at(i_) == '+' && !variable) ? at(i_) : '\0';
        const size_t mark = i_ + (sign == '\0' ? 0 : 1);
        if (starts(mark, variable ? "}}" : "%}")) {
          tokens_.push_back({variable ? Kind::variable_end : Kind::block_end, "", begin});
          if (variable) {
            i_ = sign == '-' ? after_space(mark + 2) : mark + 2;
            line_starting_ = s_[i_ - 1] == '\n';
          } else {
            leave(mark + 2, sign);
          }
          return {};
        }
      }
      LISSOM_CHECK(token(begin, open));
    }
  }

  Result<void> token(size_t begin, std::string& open) {
    const char c = s_[begin];
    if (is_name_start(c)) {
      while (is_name_start(at(i_)) || is_digit(at(i_))) ++i_;
      tokens_.push_back({Kind::name, std::string(s_.substr(begin, i_ - begin)), begin});
      return {};
    }
    if (is_digit(c)) return number(begin);
    if (c == '\'' || c == '"') return text(begin);
    constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    std::string op(1, c);
    for (const std::string_view two : kTwo)
      if (starts(begin, two)) op = two;
    if (std::string_view("+-/*%~[](){}=<>.:|,;").find(op[0]) == std::string_view::npos && op != "!=")
      return wrong(begin, "unexpected character '" +
                              std::string(s_.substr(begin, static_cast<size_t>(unicode::sequence_length(c)))) +
                              "'");
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) return wrong(begin, "unexpected '" + op + "'");
      open.pop_back();
    }
    i_ += op.size();
    tokens_.push_back({Kind::op, op, begin});
    return {};
  }

  void digits() {
    while (is_digit(at(i_)) || (at(i_) == '_' && is_digit(at(i_ + 1)))) ++i_;
  }
  Result<void> number(size_t begin) {
    if (c0(begin, 'x') || c0(begin, 'o') || c0(begin, 'b'))
      return wrong(begin, "numbers in other bases are not supported");
    digits();
    bool is_float = false;
    const bool after_dot = begin > 0 && s_[begin - 1] == '.';
    if (!after_dot && at(i_) == '.' && is_digit(at(i_ + 1))) {
      is_float = true;
      ++i_;
      digits();
    }
    if (!after_dot && (at(i_) == 'e' || at(i_) == 'E')) {
      const size_t sign = at(i_ + 1) == '+' || at(i_ + 1) == '-' ? 1 : 0;
      if (is_digit(at(i_ + 1 + sign))) {
        is_float = true;
        i_ += 1 + sign;
        digits();
      }
    }
    std::string value(s_.substr(begin, i_ - begin));
    std::erase(value, '_');
    if (!is_float && value.size() > 1 && value[0] == '0' && value.find_first_not_of('0') != std::string::npos)
      return wrong(begin, "a number with a leading zero");
    tokens_.push_back({is_float ? Kind::number : Kind::integer, std::move(value), begin});
    return {};
  }
  [[nodiscard]] bool c0(size_t i, char letter) const { return s_[i] == '0' && (at(i + 1) | 0x20) == letter; }

  /// A string literal, with the escapes of Python.
  Result<void> text(size_t begin) {
    std::string out;
    for (++i_; i_ < s_.size() && s_[i_] != s_[begin]; ++i_) {
      if (s_[i_] != '\\') {
        out += s_[i_];
        continue;
      }
      const char e = at(++i_);
      constexpr std::string_view kFrom = "\\'\"abfnrtv", kTo = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t k = kFrom.find(e); e != '\0' && k != std::string_view::npos) {
        out += kTo[k];
      } else if (e == '\n') {
        continue;
      } else if (e >= '0' && e <= '7') {
        char32_t c = 0;
        for (int n = 0; n < 3 && at(i_) >= '0' && at(i_) <= '7'; ++n)
          c = c * 8 + static_cast<char32_t>(s_[i_++] - '0');
        --i_;
        unicode::append(out, c);
      } else if (e == 'x' || e == 'u' || e == 'U') {
        LISSOM_CHECK(hexadecimal(e == 'x' ? 2 : e == 'u' ? 4 : 8, out));
      } else if (e == 'N') {
        return wrong(i_ - 1, "\\N in a string is not supported");
      } else {
        out += '\\';
        out += e;
      }
    }
    if (i_ >= s_.size()) return wrong(begin, "a string that does not end");
    ++i_;
    tokens_.push_back({Kind::text, std::move(out), begin});
    return {};
  }
  Result<void> hexadecimal(int digits_wanted, std::string& out) {
    const size_t begin = i_ - 1;
    char32_t c = 0;
    for (int n = 0; n < digits_wanted; ++n) {
      const char h = at(++i_);
      const int digit = is_digit(h)            ? h - '0'
                        : h >= 'a' && h <= 'f' ? h - 'a' + 10
                        : h >= 'A' && h <= 'F' ? h - 'A' + 10
                                               : -1;
      if (digit < 0) return wrong(begin, "a broken escape in a string");
      c = c * 16 + static_cast<char32_t>(digit);
    }
    if (c >= 0x110000 || (c >= 0xd800 && c < 0xe000)) return wrong(begin, "an escape that is no character");
    unicode::append(out, c);
    return {};
  }

  std::string_view s_;
  const std::string& origin_;
  size_t i_ = 0;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source, const std::string& origin) {
  return Lexer(source, origin).run();
}

}  // namespace lissom::chat
