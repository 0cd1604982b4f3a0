// A plugin for tests of what is planned with one.

#include "compress/testing.h"

extern "C" __attribute__((visibility("default"))) lissom::Engine* lissom_engine_create() {
  return new lissom::testing::FakeEngine();
}
