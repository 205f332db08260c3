from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = Any  # numpy.ndarray, torch.Tensor, or what has __dlpack__ and __dlpack_device__
Fp8 = tuple[Array, Array]  # codes, scales
Out = Literal["bf16", "f16", "f32"]

def fp8_gemm_nt(a: Fp8, b: Fp8, d: Array | None = ..., c: Array | None = ..., *,
                out_dtype: Out | None = ..., int8: bool = ...,
                stream: int | None = ...,
                device: Literal["emulator"] | None = ...) -> Array: ...
def m_grouped_fp8_gemm_nt_contiguous(a: Fp8, b: Fp8, d: Array | None,
                                     grouped_layout: Array | Sequence[int], *,
                                     use_psum_layout: bool = ..., alignment: int = ...,
                                     out_dtype: Out | None = ..., int8: bool = ...,
                                     stream: int | None = ...,
                                     device: Literal["emulator"] | None = ...) -> Array: ...
def m_grouped_fp8_gemm_nt_masked(a: Fp8, b: Fp8, d: Array | None, masked_m: Array | Sequence[int],
                                 expected_m: int = ..., *, out_dtype: Out | None = ...,
                                 int8: bool = ..., stream: int | None = ...,
                                 device: Literal["emulator"] | None = ...) -> Array: ...
def k_grouped_fp8_gemm_nt(a: Fp8, b: Fp8, d: Array | None, ks: Sequence[int],
                          grouped_layout: Array | None = ..., c: Array | None = ..., *,
                          stream: int | None = ...,
                          device: Literal["emulator"] | None = ...) -> Array: ...

k_grouped_fp8_gemm_nt_contiguous = k_grouped_fp8_gemm_nt

def fp8_mqa_logits(q: npt.NDArray[np.uint8], kv: Fp8, weights: npt.ArrayLike, ks: npt.ArrayLike,
                   ke: npt.ArrayLike, clean_logits: bool = ..., max_seqlen_k: int = ...,
                   logits_dtype: Literal["f32", "bf16"] = ...) -> npt.NDArray[np.generic]: ...
def fp8_paged_mqa_logits(q: npt.NDArray[np.uint8], kv_cache: npt.NDArray[np.uint8],
                         weights: npt.ArrayLike, context_lens: npt.ArrayLike,
                         block_table: npt.ArrayLike, max_context_len: int,
                         clean_logits: bool = ...,
                         logits_dtype: Literal["f32", "bf16"] = ...
                         ) -> npt.NDArray[np.generic]: ...
def per_token_cast_to_fp8(x: Array | npt.ArrayLike, use_ue8m0: bool = ...) -> Fp8: ...
def per_block_cast_to_fp8(x: Array | npt.ArrayLike, use_ue8m0: bool = ...) -> Fp8: ...
def calc_diff(x: Array | npt.ArrayLike, y: Array | npt.ArrayLike) -> float: ...
def bf16_to_float(bits: npt.ArrayLike) -> npt.NDArray[np.float32]: ...
