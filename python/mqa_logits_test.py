"""The scores of the lightning indexer over numpy arrays, against numpy in double precision."""

import unittest

import hadal
import numpy as np


def value_of(code):
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = code >> 3 & 15, code & 7
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return sign * (1 + mantissa / 8) * 2.0**(exponent - 7)


VALUES = np.array([value_of(i) for i in range(256)])


def scores(q, k, scale, weights):
    """q [n][heads][depth], k [keys][depth]."""
    dots = np.einsum("nhd,kd->nhk", VALUES[q], VALUES[k])
    return np.einsum("nhk,nh->nk", np.maximum(dots, 0), weights.astype(np.float64)) * scale


class MqaLogits(unittest.TestCase):
    def setUp(self):
        rng = np.random.default_rng(1)
        self.q = hadal.per_token_cast_to_fp8(rng.standard_normal((6 * 32, 64), np.float32))[0]
        self.q = self.q.reshape(6, 32, 64)
        self.k, scale = hadal.per_token_cast_to_fp8(rng.standard_normal((300, 64), np.float32))
        self.scale = scale.reshape(300)
        self.weights = rng.standard_normal((6, 32), np.float32)
        self.want = scores(self.q, self.k, self.scale, self.weights)

    def check(self, got, want):
        self.assertTrue((np.isneginf(got) == np.isneginf(want)).all())
        inside = ~np.isneginf(want)
        self.assertLess(hadal.calc_diff(got[inside], want[inside]), 1e-10)

    def test_prefill(self):
        ks = np.array([0, 10, 20, 30, 200, 5], np.int32)
        ke = np.array([300, 400, 21, 290, 100, 6], np.int32)
        j = np.arange(300)
        mask = (j >= ks[:, None]) & (j < ke[:, None])
        want = np.where(mask, self.want, -np.inf)
        got = hadal.fp8_mqa_logits(self.q, (self.k, self.scale), self.weights, ks, ke)
        self.assertEqual(got.shape, (6, 300))
        self.check(got, want)
        bf16 = hadal.fp8_mqa_logits(self.q, (self.k, self.scale), self.weights, ks, ke,
                                    logits_dtype="bf16")
        values = hadal.gemm.bf16_to_float(bf16)
        self.assertTrue((np.isneginf(values) == ~mask).all())
        self.assertLess(hadal.calc_diff(values[mask], want[mask]), 3e-5)
        left = hadal.fp8_mqa_logits(self.q, (self.k, self.scale), self.weights, ks, ke,
                                    clean_logits=False)
        self.assertTrue((left[~mask] == 0).all())
        packed = hadal.fp8_mqa_logits(self.q, (self.k, self.scale), self.weights, ks, ke,
                                      max_seqlen_k=310)
        for i in range(6):
            n = mask[i].sum()
            self.assertTrue((packed[i, :n] == got[i, mask[i]]).all())
            self.assertTrue(np.isneginf(packed[i, n:]).all())

    def test_decode(self):
        block, blocks = 64, 20
        cache = np.full((blocks, block, 1, 68), 255, np.uint8)  # NaN
        table = np.random.default_rng(2).permutation(blocks)[:10].reshape(2, 5).astype(np.int32)
        for request, length in ((0, 300), (1, 70)):
            for key in range(length):
                flat = cache[table[request, key // block]].reshape(-1)
                at = key % block
                flat[at * 64:at * 64 + 64] = self.k[key]
                flat[block * 64 + 4 * at:block * 64 + 4 * at + 4] = self.scale[key:key + 1].view(
                    np.uint8)
        q = self.q.reshape(2, 3, 32, 64)
        lens = np.array([300, 70], np.int32)
        ends = (lens[:, None] - 3 + np.arange(3) + 1).astype(np.int32)
        want = np.where(np.arange(310) < ends.reshape(6, 1),
                        np.pad(self.want, ((0, 0), (0, 10))), -np.inf)
        self.check(hadal.fp8_paged_mqa_logits(q, cache, self.weights, lens, table, 310), want)
        self.check(hadal.fp8_paged_mqa_logits(q, cache, self.weights, ends, table, 310), want)

    def test_errors_name_the_argument(self):
        ks = np.zeros(6, np.int32)
        with self.assertRaisesRegex(ValueError, r"weights has the shape \[6, 31\]; it must be"):
            hadal.fp8_mqa_logits(self.q, (self.k, self.scale), self.weights[:, :31], ks, ks)
        with self.assertRaisesRegex(ValueError, "logits_dtype is f16"):
            hadal.fp8_mqa_logits(self.q, (self.k, self.scale), self.weights, ks, ks,
                                 logits_dtype="f16")
        with self.assertRaisesRegex(ValueError, "head_dim is 8"):
            hadal.fp8_mqa_logits(self.q[:, :, :8], (self.k[:, :8], self.scale), self.weights, ks,
                                 ks)


if __name__ == "__main__":
    unittest.main()
