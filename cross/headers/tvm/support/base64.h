/* Tensors within JSON, which no board reads or writes: whoever tries is told so. */
#ifndef EDGEKIT_TVM_SUPPORT_BASE64_H
#define EDGEKIT_TVM_SUPPORT_BASE64_H

#include <tvm/ffi/error.h>
#include <tvm/support/io.h>

namespace tvm {
namespace support {

class Base64Refusal : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  std::size_t Read(void *, std::size_t) override { return Refuse(); }
  std::size_t Write(const void *, std::size_t) override { return Refuse(); }

 private:
  static std::size_t Refuse() {
    TVM_FFI_THROW(RuntimeError) << "this runtime has no base64: tensors do not go into JSON";
    return 0;
  }
};

class Base64InStream : public Base64Refusal {
 public:
  explicit Base64InStream(Stream *) {}
  void InitPosition() {}
};

class Base64OutStream : public Base64Refusal {
 public:
  explicit Base64OutStream(Stream *) {}
  void Finish() {}
};

}  // namespace support
}  // namespace tvm

#endif
