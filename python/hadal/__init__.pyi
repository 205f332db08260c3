from . import eplb as eplb
from . import gemm as gemm
from . import trace as trace
from .eplb import rebalance_experts as rebalance_experts
from .gemm import calc_diff as calc_diff
from .gemm import fp8_gemm_nt as fp8_gemm_nt
from .gemm import fp8_mqa_logits as fp8_mqa_logits
from .gemm import fp8_paged_mqa_logits as fp8_paged_mqa_logits
from .gemm import k_grouped_fp8_gemm_nt as k_grouped_fp8_gemm_nt
from .gemm import k_grouped_fp8_gemm_nt_contiguous as k_grouped_fp8_gemm_nt_contiguous
from .gemm import m_grouped_fp8_gemm_nt_contiguous as m_grouped_fp8_gemm_nt_contiguous
from .gemm import m_grouped_fp8_gemm_nt_masked as m_grouped_fp8_gemm_nt_masked
from .gemm import per_block_cast_to_fp8 as per_block_cast_to_fp8
from .gemm import per_token_cast_to_fp8 as per_token_cast_to_fp8

__all__ = ["calc_diff", "eplb", "fp8_gemm_nt", "fp8_mqa_logits", "fp8_paged_mqa_logits", "gemm",
           "k_grouped_fp8_gemm_nt", "k_grouped_fp8_gemm_nt_contiguous",
           "m_grouped_fp8_gemm_nt_contiguous",
           "m_grouped_fp8_gemm_nt_masked", "per_block_cast_to_fp8", "per_token_cast_to_fp8",
           "rebalance_experts", "trace"]
