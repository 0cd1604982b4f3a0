#pragma once
// A file made to hurt a reader.

#include <string>

namespace lissom::hostile {

struct Case {
  const char* what;
  std::string bytes;
  const char* field;  ///< what the message must name
};

}  // namespace lissom::hostile
