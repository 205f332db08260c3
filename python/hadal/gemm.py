"""FP8 matrix products with block scales, with DeepGEMM's names and order of arguments.

    a = hadal.per_token_cast_to_fp8(x)                # (codes [m, k], scales [m, k / 128])
    b = hadal.per_block_cast_to_fp8(w)                # (codes [n, k], scales [n / 128, k / 128])
    d = hadal.fp8_gemm_nt(a, b, out_dtype="f32")      # x @ w.T
    hadal.fp8_gemm_nt(a, b, d)                        # into an array of the caller's

Arrays are numpy's, torch's (on the CPU or on a GPU) or any with __dlpack__, and are not copied.
What comes back is of a's kind and on a's device. numpy has neither e4m3 nor bf16: uint8 and uint16
stand for them. docs/gemm.md says what is exact.
"""

import numpy as np

from ._hadal.gemm import (calc_diff, fp8_gemm_nt, fp8_mqa_logits, fp8_paged_mqa_logits,
                          k_grouped_fp8_gemm_nt, m_grouped_fp8_gemm_nt_contiguous,
                          m_grouped_fp8_gemm_nt_masked, per_block_cast_to_fp8, per_token_cast_to_fp8)

__all__ = ["bf16_to_float", "calc_diff", "fp8_gemm_nt", "fp8_mqa_logits",
           "fp8_paged_mqa_logits", "k_grouped_fp8_gemm_nt", "k_grouped_fp8_gemm_nt_contiguous",
           "m_grouped_fp8_gemm_nt_contiguous", "m_grouped_fp8_gemm_nt_masked",
           "per_block_cast_to_fp8", "per_token_cast_to_fp8"]

k_grouped_fp8_gemm_nt_contiguous = k_grouped_fp8_gemm_nt  # DeepGEMM's name


def bf16_to_float(bits):
    """float32 values of an array of bf16 bits (uint16)."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << 16).view(np.float32)
