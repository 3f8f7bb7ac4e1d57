/* ncnn's C interface, taken out of the library that the board has.
 *
 * Source: src/c_api.h of ncnn 20261020. Before May 2021 the functions that make tensors had no
 * allocator; a library so old lacks others of these, and is refused for that.
 */
#ifndef EDGEKIT_NCNN_LIBRARY_H
#define EDGEKIT_NCNN_LIBRARY_H

#include <stddef.h>

typedef struct ncnn_option *ncnn_option;
typedef struct ncnn_mat *ncnn_mat;
typedef struct ncnn_layer *ncnn_layer;
typedef struct ncnn_net *ncnn_net;
typedef struct ncnn_extractor *ncnn_extractor;
typedef struct ncnn_allocator *ncnn_allocator;

typedef struct {
  const char *(*version)(void);
  ncnn_option (*option_create)(void);
  void (*option_destroy)(ncnn_option);
  void (*option_set_num_threads)(ncnn_option, int);
  void (*option_set_use_vulkan_compute)(ncnn_option, int);
  void (*option_set_use_fp16_packed)(ncnn_option, int);
  void (*option_set_use_fp16_storage)(ncnn_option, int);
  void (*option_set_use_fp16_arithmetic)(ncnn_option, int);
  void (*option_set_use_bf16_storage)(ncnn_option, int);
  ncnn_mat (*mat_create_1d)(int, ncnn_allocator);
  ncnn_mat (*mat_create_2d)(int, int, ncnn_allocator);
  ncnn_mat (*mat_create_3d)(int, int, int, ncnn_allocator);
  ncnn_mat (*mat_create_4d)(int, int, int, int, ncnn_allocator);
  void (*mat_destroy)(ncnn_mat);
  int (*mat_get_dims)(ncnn_mat);
  int (*mat_get_w)(ncnn_mat);
  int (*mat_get_h)(ncnn_mat);
  int (*mat_get_d)(ncnn_mat);
  int (*mat_get_c)(ncnn_mat);
  size_t (*mat_get_elemsize)(ncnn_mat);
  size_t (*mat_get_cstep)(ncnn_mat);
  void *(*mat_get_data)(ncnn_mat);
  ncnn_layer (*layer_create_by_type)(const char *);
  void (*layer_destroy)(ncnn_layer);
  ncnn_net (*net_create)(void);
  void (*net_destroy)(ncnn_net);
  void (*net_set_option)(ncnn_net, ncnn_option);
  int (*net_load_param)(ncnn_net, const char *);
  int (*net_load_model)(ncnn_net, const char *);
  ncnn_extractor (*extractor_create)(ncnn_net);
  void (*extractor_destroy)(ncnn_extractor);
  int (*extractor_input)(ncnn_extractor, const char *, ncnn_mat);
  int (*extractor_extract)(ncnn_extractor, const char *, ncnn_mat *);
} ncnn_functions;

/* Load the library and find its functions. Ends the program where it cannot.
 *
 * place: the library, or the folder it is in; NULL: where the system's loader looks.
 */
void ncnn_open(const char *place, ncnn_functions *found);

#endif
