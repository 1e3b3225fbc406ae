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
/// An Expand of a constant along the batch, from in front of what is computed from such values alone to behind it.
int sink_expand(Graph& graph);
/// An Expand of what arithmetic behind it broadcasts anyway.
int drop_expand(Graph& graph);
/// BatchNormalization after Conv/Gemm into its weights, also behind a Transpose of tokens and behind a Concat of several.
int fold_batch_norm(Graph& graph);
/// Adding, subtracting, multiplying or dividing by a constant per channel after Conv/Gemm, into its weights and bias.
int fold_affine(Graph& graph);
/// The constant scale and bias of a normalisation, a BatchNormalization, and + - * / of a constant a channel, into the Convs and Gemms that
/// alone read the result.
int fold_scale(Graph& graph);
/// Parallel Convs of one value, BatchNormalizations of it and the value itself, added or subtracted, into one Conv.
int merge_branches(Graph& graph);
/// A Reshape that keeps the last axis, from behind a Gemm to the front of it.
int hoist_reshape(Graph& graph);
/// A chain of Reshape and Transpose into at most one Transpose, with Transposes to [N,H,W,C] next to image maps.
int collapse_moves(Graph& graph);
/// Two parts of a value in exchanged order, joined again, into a Gather with constant indices.
int recognize_roll(Graph& graph);
/// A Gather from all elements of a tensor at positions that count them in order (`as_strided` of torch.export) into a Reshape.
int recognize_view(Graph& graph);
/// A Split whose parts are not all read into Slices, a Slice of a Slice into one.
int simplify_slices(Graph& graph);
/// Reorderings of tokens (windows, shifts) behind the layers and into the Attention that they surround, else to where layers join and
/// reorderings meet; several of a chain into one Gather.
int order_tokens(Graph& graph);
/// A Transpose back to [N,C,H,W] behind the pointwise Convs, sums and activations that follow it; the Convs become Gemms on [N,H,W,C].
int sink_to_map(Graph& graph);
/// A Conv that cuts a picture into large patches which do not overlap, into a Transpose and a Gemm on patches.
int split_patches(Graph& graph);
/// Zero Pad into the following Conv or (where it is equal) pooling.
int fold_pad(Graph& graph);
/// x*sigmoid(x), x*hard_sigmoid(x), x*clip(x+3,0,6)/6, the spellings of GELU, Mish and Softplus, min and max with numbers, ... into one
/// UnaryOp.
int recognize_activations(Graph& graph);
/// Layer and RMS normalisation spelled out over the last axes, or over the channels of a map, with a constant scale and bias behind it,
/// into one Normalize (of a map: between Transposes to [N,H,W,C] and back); group normalisation spelled with Reshapes likewise, and vectors
/// that are divided by their lengths.
int recognize_normalization(Graph& graph);
/// Softmax attention and the linear attention of EfficientViT, however they are spelled, into one Attention.
int recognize_attention(Graph& graph);
/// A UnaryOp into the Conv, Gemm, Attention or Binary that alone feeds it, through Reshapes and Transposes too, or into all that a Concat
/// joins for it.
int fuse_activation(Graph& graph);
/// Functions of elements that alone read one another into one Elementwise.
int fuse_elementwise(Graph& graph);
/// Binary add of two equal shapes into the Conv or Gemm that alone feeds it, as its residual input.
int fuse_residual(Graph& graph);
/// ReduceMean/Max over all spatial axes, or an AveragePool as large as its input, to GlobalPool.
int canonicalize_global_pool(Graph& graph);
/// MatMul by a constant matrix, with a following constant bias Add, to Gemm: the form of every linear layer, on matrices and on tokens.
int matmul_to_gemm(Graph& graph);
/// Operands of a MatMul whose leading axes broadcast in part are repeated, so that both have the result's.
int spread_matmul(Graph& graph);
/// Dead nodes and values.
int remove_dead(Graph& graph);

/// All of the above to a fixed point: an imported graph becomes the normal form that planner and engine expect.
void normalize(Graph& graph);

}  // namespace fcm::passes
