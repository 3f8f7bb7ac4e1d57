/* Values as they lie in what TVM writes: little-endian, sizes as 64 bits before what they count. */
#ifndef EDGEKIT_TVM_SUPPORT_SERIALIZER_H
#define EDGEKIT_TVM_SUPPORT_SERIALIZER_H

#include <dlpack/dlpack.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/string.h>
#include <tvm/support/io.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "no board that edgekit knows is other");

namespace tvm {
namespace support {

template <typename T>
struct Serializer<T, std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>>> {
  static constexpr bool enabled = true;
  static void Write(Stream *stream, const T &value) { stream->Write(&value, sizeof value); }
  static bool Read(Stream *stream, T *value) {
    return stream->Read(value, sizeof *value) == sizeof *value;
  }
};

/* Characters, or whatever else has a size and begins at data(). */
template <typename T>
struct CharacterSerializer {
  static constexpr bool enabled = true;
  static void Write(Stream *stream, const T &value) {
    stream->Write(static_cast<uint64_t>(value.size()));
    if (value.size() != 0) stream->Write(value.data(), value.size());
  }
  static bool Read(Stream *stream, T *value) {
    uint64_t size = 0;
    if (!stream->Read(&size)) return false;
    std::string characters(static_cast<std::size_t>(size), '\0');
    if (size != 0 && stream->Read(&characters[0], characters.size()) != size) return false;
    *value = T(std::move(characters));
    return true;
  }
};

template <>
struct Serializer<std::string> : CharacterSerializer<std::string> {};
template <>
struct Serializer<ffi::String> : CharacterSerializer<ffi::String> {};
template <>
struct Serializer<ffi::Bytes> : CharacterSerializer<ffi::Bytes> {};

template <typename T>
struct Serializer<std::vector<T>> {
  static constexpr bool enabled = true;
  static void Write(Stream *stream, const std::vector<T> &values) {
    stream->Write(static_cast<uint64_t>(values.size()));
    for (const T &value : values) stream->Write(value);
  }
  static bool Read(Stream *stream, std::vector<T> *values) {
    uint64_t count = 0;
    if (!stream->Read(&count)) return false;
    values->clear();
    for (; count != 0; --count) {
      values->emplace_back();
      if (!stream->Read(&values->back())) return false;
    }
    return true;
  }
};

template <typename T>
struct Serializer<ffi::Array<T>> {
  static constexpr bool enabled = true;
  static void Write(Stream *stream, const ffi::Array<T> &values) {
    stream->Write(static_cast<uint64_t>(values.size()));
    for (const T &value : values) stream->Write(value);
  }
  static bool Read(Stream *stream, ffi::Array<T> *values) {
    std::vector<T> read;
    if (!stream->Read(&read)) return false;
    *values = ffi::Array<T>(read.begin(), read.end());
    return true;
  }
};

template <typename K, typename V>
struct Serializer<ffi::Map<K, V>> {
  static constexpr bool enabled = true;
  static void Write(Stream *stream, const ffi::Map<K, V> &pairs) {
    stream->Write(static_cast<uint64_t>(pairs.size()));
    for (const auto &pair : pairs) {
      stream->Write(pair.first);
      stream->Write(pair.second);
    }
  }
  static bool Read(Stream *stream, ffi::Map<K, V> *pairs) {
    uint64_t count = 0;
    if (!stream->Read(&count)) return false;
    *pairs = ffi::Map<K, V>();
    for (; count != 0; --count) {
      K key;
      V value;
      if (!stream->Read(&key) || !stream->Read(&value)) return false;
      pairs->Set(std::move(key), std::move(value));
    }
    return true;
  }
};

template <>
struct Serializer<DLDataType> {
  static constexpr bool enabled = true;
  static void Write(Stream *stream, const DLDataType &type) {
    stream->Write(type.code);
    stream->Write(type.bits);
    stream->Write(type.lanes);
  }
  static bool Read(Stream *stream, DLDataType *type) {
    return stream->Read(&type->code) && stream->Read(&type->bits) && stream->Read(&type->lanes);
  }
};

template <>
struct Serializer<DLDevice> {
  static constexpr bool enabled = true;
  static void Write(Stream *stream, const DLDevice &device) {
    stream->Write(static_cast<int32_t>(device.device_type));
    stream->Write(static_cast<int32_t>(device.device_id));
  }
  static bool Read(Stream *stream, DLDevice *device) {
    int32_t type = 0;
    if (!stream->Read(&type) || !stream->Read(&device->device_id)) return false;
    device->device_type = static_cast<DLDeviceType>(type);
    return true;
  }
};

}  // namespace support
}  // namespace tvm

#endif
