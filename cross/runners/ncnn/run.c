/* ncnn as the frame knows an engine: ncnn-run, with the library that the board has.
 *
 * MODEL is the .param file; the .bin file and blobs.json lie beside it, as edgekit leaves them.
 * The first line says which version of ncnn it was, too.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blobs.h"
#include "engine.h"
#include "library.h"
#include "program.h"

#define FLOAT_BITS 32
#define LONGEST_LINE 8192
#define LONGEST_TYPE 256
#define SUFFIX ".param"

const char *const engine_usage =
    "ncnn-run [-l LIBRARY] [-p fp32|fp16] [-t THREADS] [-w WARMUP] [-n RUNS] [-o FOLDER] "
    "MODEL.param INPUT.npy...";
const char *const engine_letters = "l:o:p:t:w:n:";

static ncnn_functions ncnn;
static ncnn_net net;
static blobs model;
static struct {
  float *values; /* as they are read: contiguous */
  ncnn_mat mat;  /* as ncnn wants them: channels aligned */
} inputs[BLOBS_MOST];
static ncnn_mat outputs[BLOBS_MOST];
static float *rows; /* an output, contiguous */
static int given, ran;

/* Name the file that lies beside the model. */
static void beside(const char *param, const char *end, char *path) {
  size_t stem = strlen(param);
  if (*end == '.') {
    stem -= strlen(SUFFIX);
  } else {
    const char *slash = strrchr(param, '/');
    stem = slash ? (size_t)(slash - param) + 1 : 0;
  }
  if (stem + strlen(end) >= PATH_MAX) end_with(param, strerror(ENAMETOOLONG));
  memcpy(path, param, stem);
  strcpy(path + stem, end);
}

/* The date within a version such as 1.0.20261020. */
static long date_of(const char *version) {
  const char *dot = strrchr(version, '.');
  return atol(dot ? dot + 1 : version);
}

/* End for a model that ncnn cannot load; it names a layer that it lacks on standard error only. */
static void refuse_model(const char *param) __attribute__((noreturn));
static void refuse_model(const char *param) {
  char line[LONGEST_LINE], type[LONGEST_TYPE], words[1024];
  FILE *file = fopen(param, "r");
  if (!file) end_with(param, strerror(errno));
  /* A line's first word, where a line begins: one may be longer than what is read at once. */
  for (int whole = 1, began; fgets(line, sizeof line, file);) {
    began = whole;
    whole = strchr(line, '\n') != NULL;
    /* Not the two lines of numbers at the top. */
    if (!began || sscanf(line, "%255s", type) != 1 || strchr("0123456789", *type)) continue;
    ncnn_layer layer = ncnn.layer_create_by_type(type);
    if (!layer) {
      snprintf(words, sizeof words,
               "ncnn %s has no layer %s; the model was made for ncnn %s: use a library as new",
               ncnn.version(), type, model.version);
      end_with(param, words);
    }
    ncnn.layer_destroy(layer);
  }
  end_with(param, "ncnn cannot load it");
}

static ncnn_net make_net(const engine_options *options) {
  int half = options->precision && strcmp(options->precision, "fp16") == 0;
  if (options->precision && !half && strcmp(options->precision, "fp32") != 0)
    end_with("usage", engine_usage);
  ncnn_net made = ncnn.net_create();
  ncnn_option option = ncnn.option_create();
  ncnn.option_set_num_threads(option, options->threads);
  ncnn.option_set_use_vulkan_compute(option, 0);
  /* ncnn turns on whatever the CPU has unless it is told otherwise. */
  ncnn.option_set_use_fp16_packed(option, half);
  ncnn.option_set_use_fp16_storage(option, half);
  ncnn.option_set_use_fp16_arithmetic(option, half);
  ncnn.option_set_use_bf16_storage(option, 0);
  ncnn.net_set_option(made, option);
  ncnn.option_destroy(option);
  return made;
}

void engine_load(const engine_options *options) {
  char path[PATH_MAX];
  size_t length = strlen(options->model), suffix = strlen(SUFFIX);
  if (length <= suffix || strcmp(options->model + length - suffix, SUFFIX) != 0)
    end_with(options->model, "is no .param file");
  ncnn_open(options->libraries, &ncnn);
  beside(options->model, "blobs.json", path);
  blobs_read(path, &model);
  FILE *file = fopen(options->model, "rb"); /* ncnn says why on standard error only */
  if (!file) end_with(options->model, strerror(errno));
  fclose(file);
  net = make_net(options);
  if (ncnn.net_load_param(net, options->model) != 0) refuse_model(options->model);
  beside(options->model, ".bin", path);
  if (!(file = fopen(path, "rb"))) end_with(path, strerror(errno));
  fclose(file);
  if (ncnn.net_load_model(net, path) != 0) end_with(path, "ncnn cannot load it");
}

void engine_tell(void) {
  printf(", \"ncnn\": ");
  print_json_string(ncnn.version());
  if (date_of(ncnn.version()) < date_of(model.version)) {
    /* A layer that is there may still not know a newer parameter, and ignores it. */
    printf(", \"warning\": ");
    print_json_string("this ncnn is older than the one that the model was made for: compare the "
                      "answers with the reference");
  }
}

/* Tell whether shapes are equal but for axes of one. */
static int same_shape(const npy_header *header, const blob *wanted) {
  int axis = 0;
  for (int index = 0; index < header->rank; index++) {
    if (header->shape[index] == 1) continue;
    while (axis < wanted->rank && wanted->shape[axis] == 1) axis++;
    if (axis == wanted->rank || wanted->shape[axis++] != header->shape[index]) return 0;
  }
  while (axis < wanted->rank && wanted->shape[axis] == 1) axis++;
  return axis == wanted->rank;
}

static void refuse_input(const char *path, const blob *wanted) {
  char words[512];
  int used = snprintf(words, sizeof words, "the model's input is float32[");
  for (int axis = 0; axis < wanted->rank; axis++)
    used += snprintf(words + used, sizeof words - (size_t)used, "%s%lld", axis ? ", " : "",
                     (long long)wanted->shape[axis]);
  snprintf(words + used, sizeof words - (size_t)used, "], a batch of one aside");
  end_with(path, words);
}

static ncnn_mat make_mat(const blob *wanted) {
  int size[4];
  for (int axis = 0; axis < wanted->rank && axis < 4; axis++)
    size[axis] = (int)wanted->shape[wanted->rank - 1 - axis];
  switch (wanted->rank) {
    case 1: return ncnn.mat_create_1d(size[0], NULL);
    case 2: return ncnn.mat_create_2d(size[0], size[1], NULL);
    case 3: return ncnn.mat_create_3d(size[0], size[1], size[2], NULL);
    case 4: return ncnn.mat_create_4d(size[0], size[1], size[2], size[3], NULL);
    default: end_with(wanted->name, "has more axes than ncnn's tensors");
  }
}

void *engine_input(const npy_header *header, const char *path) {
  if (given == model.input_count) end_with(path, "the model has fewer inputs");
  const blob *wanted = &model.inputs[given];
  if (header->code != NPY_FLOAT || header->bits != FLOAT_BITS || !same_shape(header, wanted))
    refuse_input(path, wanted);
  inputs[given].values = malloc((size_t)blob_size(wanted) * sizeof(float));
  inputs[given].mat = make_mat(wanted);
  if (!inputs[given].values || !ncnn.mat_get_data(inputs[given].mat))
    end_with(path, "out of memory");
  return inputs[given++].values;
}

/* Copy between contiguous values and a tensor, whose channels begin `cstep` values apart. */
static int64_t copy(ncnn_mat mat, float *values, int into_mat) {
  int dims = ncnn.mat_get_dims(mat);
  int64_t plane = ncnn.mat_get_w(mat);
  if (dims > 1) plane *= ncnn.mat_get_h(mat);
  if (dims > 3) plane *= ncnn.mat_get_d(mat);
  int64_t channels = dims > 2 ? ncnn.mat_get_c(mat) : 1;
  if (!values) return plane * channels;
  size_t step = ncnn.mat_get_cstep(mat), bytes = (size_t)plane * sizeof(float);
  float *data = ncnn.mat_get_data(mat);
  for (int64_t channel = 0; channel < channels; channel++) {
    float *inside = data + (size_t)channel * step, *outside = values + channel * plane;
    memcpy(into_mat ? inside : outside, into_mat ? outside : inside, bytes);
  }
  return plane * channels;
}

static void prepare(void) {
  if (given != model.input_count) end_with("usage", "the model has more inputs");
  for (int index = 0; index < given; index++) copy(inputs[index].mat, inputs[index].values, 1);
  ran = 1;
}

static void forget(void) {
  for (int index = 0; index < model.output_count; index++) {
    if (outputs[index]) ncnn.mat_destroy(outputs[index]);
    outputs[index] = NULL;
  }
}

void engine_run(void) {
  if (!ran) prepare();
  forget();
  ncnn_extractor extractor = ncnn.extractor_create(net);
  /* Not copied: what works in place takes a copy of what is still held elsewhere. */
  for (int index = 0; index < given; index++)
    if (ncnn.extractor_input(extractor, model.inputs[index].name, inputs[index].mat) != 0)
      end_with(model.inputs[index].name, "ncnn refused the input");
  for (int index = 0; index < model.output_count; index++)
    if (ncnn.extractor_extract(extractor, model.outputs[index].name, &outputs[index]) != 0)
      end_with(model.outputs[index].name, "ncnn could not compute the output");
  ncnn.extractor_destroy(extractor);
}

int engine_outputs(void) { return model.output_count; }

const void *engine_output(int index, npy_header *header) {
  const blob *each = &model.outputs[index];
  int64_t size = blob_size(each);
  if (ncnn.mat_get_elemsize(outputs[index]) != sizeof(float) ||
      copy(outputs[index], NULL, 0) != size)
    end_with(each->name, "the output is not of the shape that blobs.json names");
  rows = realloc(rows, (size_t)size * sizeof(float));
  if (!rows) end_with(each->name, "out of memory");
  copy(outputs[index], rows, 0);
  *header = (npy_header){NPY_FLOAT, FLOAT_BITS, each->rank, {0}};
  memcpy(header->shape, each->shape, sizeof header->shape);
  return rows;
}

void engine_free(void) {
  forget();
  for (int index = 0; index < given; index++) {
    ncnn.mat_destroy(inputs[index].mat);
    free(inputs[index].values);
  }
  ncnn.net_destroy(net);
  free(rows);
}
