/* A stream of bytes, and what reads and writes values on it.
 *
 * The headers in this folder stand in for a few of TVM's own that its wheel leaves out, although
 * it holds the sources that include them (docs/tvm.md). They declare what those sources use.
 */
#ifndef EDGEKIT_TVM_SUPPORT_IO_H
#define EDGEKIT_TVM_SUPPORT_IO_H

#include <cstddef>

namespace tvm {
namespace support {

/* How a type lies in a stream; ``serializer.h`` knows the common ones. */
template <typename T, typename = void>
struct Serializer;

class Stream {
 public:
  virtual ~Stream() = default;

  /* Both return how many bytes there were. */
  virtual std::size_t Read(void *bytes, std::size_t size) = 0;
  virtual std::size_t Write(const void *bytes, std::size_t size) = 0;

  template <typename T>
  bool Read(T *value) {
    return Serializer<T>::Read(this, value);
  }

  template <typename T>
  void Write(const T &value) {
    Serializer<T>::Write(this, value);
  }

  template <typename T>
  bool ReadArray(T *values, std::size_t count) {
    bool whole = true;
    for (T *end = values + count; whole && values != end; ++values) whole = Read<T>(values);
    return whole;
  }

  template <typename T>
  void WriteArray(const T *values, std::size_t count) {
    for (const T *end = values + count; values != end; ++values) Write<T>(*values);
  }
};

}  // namespace support
}  // namespace tvm

#endif
