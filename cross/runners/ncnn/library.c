#define _GNU_SOURCE
#include "library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "program.h"

static const char *const names[] = {"libncnn.so.1", "libncnn.so"};

#define NAMES (sizeof names / sizeof *names)

/* Where each function's address goes. */
#define PLACE(name) {"ncnn_" #name, offsetof(ncnn_functions, name)}

static const struct {
  const char *name;
  size_t offset;
} places[] = {
    PLACE(version), PLACE(option_create), PLACE(option_destroy), PLACE(option_set_num_threads),
    PLACE(option_set_use_vulkan_compute), PLACE(option_set_use_fp16_packed),
    PLACE(option_set_use_fp16_storage), PLACE(option_set_use_fp16_arithmetic),
    PLACE(option_set_use_bf16_storage), PLACE(mat_create_1d), PLACE(mat_create_2d),
    PLACE(mat_create_3d), PLACE(mat_create_4d), PLACE(mat_destroy), PLACE(mat_get_dims),
    PLACE(mat_get_w), PLACE(mat_get_h), PLACE(mat_get_d), PLACE(mat_get_c),
    PLACE(mat_get_elemsize), PLACE(mat_get_cstep), PLACE(mat_get_data),
    PLACE(layer_create_by_type), PLACE(layer_destroy), PLACE(net_create), PLACE(net_destroy),
    PLACE(net_set_option), PLACE(net_load_param), PLACE(net_load_model), PLACE(extractor_create),
    PLACE(extractor_destroy), PLACE(extractor_input), PLACE(extractor_extract),
};

static void *load(const char *place) {
  char path[PATH_MAX], why[1024] = "";
  struct stat facts;
  int folder = place && stat(place, &facts) == 0 && S_ISDIR(facts.st_mode);
  void *handle = NULL;
  for (size_t name = 0; name < NAMES && !handle; name++) {
    if (folder) snprintf(path, sizeof path, "%s/%s", place, names[name]);
    else snprintf(path, sizeof path, "%s", place ? place : names[name]);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) snprintf(why, sizeof why, "%s", dlerror());
    if (place && !folder) break;
  }
  if (!handle) {
    char words[2048];
    snprintf(words, sizeof words,
             "%s (name the library or its folder with -l; Fedora has it as ncnn: sudo dnf install "
             "ncnn; Arch, too: sudo pacman -S ncnn; Debian has none: build it from ncnn's sources "
             "with -DNCNN_SHARED_LIB=ON)",
             why);
    end_with("ncnn's library cannot be loaded", words);
  }
  return handle;
}

void ncnn_open(const char *place, ncnn_functions *found) {
  /* How long waiting threads spin before they sleep: libgomp's own is 300 times as long, which
   * costs more than the work itself where a core is busy. Read as the library comes in. */
  setenv("GOMP_SPINCOUNT", "1000", 0);
  void *handle = load(place);
  for (size_t index = 0; index < sizeof places / sizeof *places; index++) {
    void *function = dlsym(handle, places[index].name);
    if (!function) {
      char words[256];
      snprintf(words, sizeof words, "it has no %s: too old, or built without NCNN_C_API",
               places[index].name);
      end_with("ncnn's library is not of use", words);
    }
    *(void **)((char *)found + places[index].offset) = function;
  }
}
