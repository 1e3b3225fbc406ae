// Graph to Graph rewrites, one a file, independent of any device. Each returns how many times it fired.
#pragma once

#include "runtime/graph/graph.h"

namespace fcm::passes {

/// Shape inference, binding of constant inputs and constant folding in one topological sweep (integer shape arithmetic with the
/// symbolic batch included); Identity, Dropout and no-op Cast/Reshape/Pad/... vanish. Throws one Error naming every node that fails.
int fold(Graph& graph);
/// The same, but only constants are folded: a node that computes something, or nothing, keeps its form.
int fold_constants(Graph& graph);
/// Rewrites an imported graph whose inputs have one fixed extent at axis 0 for any batch B, where every operator provably treats the items
/// along that axis one by one. `wanted` 0: models of batch 1, silently left alone where that fails. Otherwise the batch that will be run:
/// a fixed batch other than that must be freed, or Error(bad_input) names the node that bakes it or mixes items. Returns whether the
/// graph was changed.
bool free_batch(Graph& graph, int64_t wanted);
/// BatchNormalization after Conv/Gemm into its weights.
int fold_batch_norm(Graph& graph);
/// Adding, subtracting, multiplying or dividing by a constant per channel after Conv/Gemm, into its weights and bias.
int fold_affine(Graph& graph);
/// Zero Pad into the following Conv or (where it is equal) pooling.
int fold_pad(Graph& graph);
/// x*sigmoid(x), x*hard_sigmoid(x), x*clip(x+3,0,6)/6, the spellings of GELU, Mish and Softplus, min and max with numbers, ... into one
/// UnaryOp.
int recognize_activations(Graph& graph);
/// Layer and RMS normalisation spelled out over the last axes, with a constant scale and bias behind it, into one Normalize.
int recognize_normalization(Graph& graph);
/// Softmax attention and the linear attention of EfficientViT, however they are spelled, into one Attention.
int recognize_attention(Graph& graph);
/// Chains of Reshape, Transpose, Slice, Concat, ... that move nothing in the end to one Reshape; those from and to channels-last rows of an
/// image to one Transpose; those that reorder rows beside a linear layer or a normalisation to one Gather of rows.
int simplify_moves(Graph& graph);
/// A Gather that reorders rows, through what works row by row, into the Attention among windows that it serves.
int sink_rows(Graph& graph);
/// A UnaryOp into the Conv, Gemm or Binary that alone feeds it.
int fuse_activation(Graph& graph);
/// Binary add of two equal shapes into the Conv that alone feeds it, as its residual input.
int fuse_residual(Graph& graph);
/// ReduceMean/Max over all spatial axes, or an AveragePool as large as its input, to GlobalPool.
int canonicalize_global_pool(Graph& graph);
/// MatMul by a constant matrix, with a following constant bias Add, to Gemm where the shapes allow.
int matmul_to_gemm(Graph& graph);
/// Operands of a MatMul whose leading axes broadcast in part are repeated, so that both have the result's.
int spread_matmul(Graph& graph);
/// Dead nodes and values.
int remove_dead(Graph& graph);

/// All of the above to a fixed point: an imported graph becomes the normal form that planner and engine expect.
void normalize(Graph& graph);

}  // namespace fcm::passes
