"""hadal: systems for mixture-of-experts models. One module per system: hadal.eplb, hadal.gemm,
hadal.trace."""

from . import eplb, gemm, trace
from .eplb import rebalance_experts
from .gemm import (calc_diff, fp8_gemm_nt, fp8_mqa_logits, fp8_paged_mqa_logits,
                   k_grouped_fp8_gemm_nt, k_grouped_fp8_gemm_nt_contiguous,
                   m_grouped_fp8_gemm_nt_contiguous, m_grouped_fp8_gemm_nt_masked,
                   per_block_cast_to_fp8, per_token_cast_to_fp8)

__all__ = ["calc_diff", "eplb", "fp8_gemm_nt", "fp8_mqa_logits", "fp8_paged_mqa_logits", "gemm",
           "k_grouped_fp8_gemm_nt", "k_grouped_fp8_gemm_nt_contiguous",
           "m_grouped_fp8_gemm_nt_contiguous",
           "m_grouped_fp8_gemm_nt_masked", "per_block_cast_to_fp8", "per_token_cast_to_fp8",
           "rebalance_experts", "trace"]
