/* What the thread pool asks of a word in an environment variable. */
#ifndef EDGEKIT_TVM_SUPPORT_UTILS_H
#define EDGEKIT_TVM_SUPPORT_UTILS_H

#include <string>

namespace tvm {
namespace support {

inline bool IsNumber(const std::string &word) {
  return !word.empty() && word.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace support
}  // namespace tvm

#endif
