"""hadal.gemm over numpy arrays, against numpy in double precision."""

import unittest

import hadal
import numpy as np


def decode(pair, block):
    """Codes and scales as float64."""
    codes, scales = pair
    table = np.array([value_of(i) for i in range(256)])
    rows, cols = codes.shape[-2:]
    r = np.minimum(np.arange(rows) // block[0], scales.shape[-2] - 1)
    c = np.minimum(np.arange(cols) // block[1], scales.shape[-1] - 1)
    return table[codes] * scales[..., r[:, None], c[None, :]].astype(np.float64)


def value_of(code):
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return np.nan
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return sign * (1 + mantissa / 8) * 2.0**(exponent - 7)


class Gemm(unittest.TestCase):
    def setUp(self):
        rng = np.random.default_rng(1)
        self.x = rng.standard_normal((70, 400), np.float32)
        self.w = rng.standard_normal((136, 400), np.float32)
        self.a = hadal.per_token_cast_to_fp8(self.x)
        self.b = hadal.per_block_cast_to_fp8(self.w)
        self.exact = decode(self.a, (1, 128)) @ decode(self.b, (128, 128)).T

    def test_product(self):
        f32 = hadal.fp8_gemm_nt(self.a, self.b, out_dtype="f32")
        self.assertLess(hadal.calc_diff(f32, self.exact), 1e-12)
        bf16 = hadal.fp8_gemm_nt(self.a, self.b)
        self.assertEqual(bf16.dtype, np.uint16)
        self.assertLess(hadal.calc_diff(hadal.gemm.bf16_to_float(bf16), self.exact), 5e-6)
        self.assertLess(hadal.calc_diff(f32, self.x.astype(np.float64) @ self.w.T), 1e-3)

    def test_int8(self):
        d = hadal.fp8_gemm_nt(self.a, self.b, out_dtype="f32", int8=True)
        self.assertLess(hadal.calc_diff(d, self.exact), 7e-5)
        self.assertGreater(hadal.calc_diff(d, self.exact), 1e-5)
        self.assertLess(hadal.calc_diff(d, self.x.astype(np.float64) @ self.w.T), 1e-3)
        with self.subTest("grouped"):
            b = (self.b[0][None], self.b[1][None])
            ids = np.zeros(70, np.int32)
            grouped = hadal.m_grouped_fp8_gemm_nt_contiguous(self.a, b, ids, out_dtype="f32",
                                                             int8=True)
            self.assertTrue((grouped == d).all())
            a = (self.a[0][None], self.a[1][None])
            counts = np.array([70], np.int32)
            masked = hadal.m_grouped_fp8_gemm_nt_masked(a, b, counts, out_dtype="f32", int8=True)
            self.assertTrue((masked[0] == d).all())

    def test_accumulates(self):
        c = np.full((70, 136), 3, np.float32)
        d = hadal.fp8_gemm_nt(self.a, self.b, out_dtype="f32", c=c)
        self.assertLess(hadal.calc_diff(d, self.exact + 3), 1e-12)
        self.assertTrue((c == 3).all())

    def test_other_scales(self):
        b = hadal.per_token_cast_to_fp8(self.w)
        d = hadal.fp8_gemm_nt(self.a, b, out_dtype="f32")
        self.assertLess(hadal.calc_diff(d, decode(self.a, (1, 128)) @ decode(b, (1, 128)).T), 1e-12)
        rows = (self.a[0], np.full((70, 1), 0.5, np.float32))
        d = hadal.fp8_gemm_nt(rows, b, out_dtype="f32")
        self.assertLess(hadal.calc_diff(d, decode(rows, (1, 999)) @ decode(b, (1, 128)).T), 1e-12)

    def test_quantizers_agree_with_their_definition(self):
        codes, scales = self.a
        self.assertEqual(scales.shape, (70, 4))
        amax = np.abs(self.x[3, 128:256]).max()
        self.assertEqual(scales[3, 1], np.float32(amax) / np.float32(448))
        self.assertLess(np.abs(decode(self.a, (1, 128)) - self.x).max() / np.abs(self.x).max(), 0.07)
        powers = hadal.per_token_cast_to_fp8(self.x, use_ue8m0=True)[1]
        self.assertTrue((np.log2(powers) % 1 == 0).all())

    def test_contiguous_groups(self):
        b = tuple(np.stack([part, part]) for part in self.b)
        b[1][1] *= 2
        ids = np.repeat(np.array([1, -1, 0], np.int32), [30, 7, 33])
        d = hadal.m_grouped_fp8_gemm_nt_contiguous(self.a, b, ids, out_dtype="f32")
        factor = np.choose(ids + 1, [0, 1, 2])[:, None]
        self.assertLess(hadal.calc_diff(d, self.exact * factor), 1e-12)
        self.assertTrue((d[30:37] == 0).all())
        ends = hadal.m_grouped_fp8_gemm_nt_contiguous(self.a, b, [30, 70], use_psum_layout=True,
                                                      out_dtype="f32")
        self.assertTrue((ends[37:] == 2 * d[37:]).all())

    def test_masked_groups(self):
        a = tuple(np.stack([part, part, part]) for part in self.a)
        b = tuple(np.stack([part, part, part]) for part in self.b)
        d = hadal.m_grouped_fp8_gemm_nt_masked(a, b, [5, 0, 70], 20, out_dtype="f32")
        for group, count in enumerate([5, 0, 70]):
            self.assertTrue((d[group, count:] == 0).all())
            if count:
                self.assertLess(hadal.calc_diff(d[group, :count], self.exact[:count]), 1e-12)

    def test_groups_along_k(self):
        a = hadal.per_token_cast_to_fp8(self.x[:, :384])
        b = hadal.per_token_cast_to_fp8(self.w[:, :384])
        d = hadal.k_grouped_fp8_gemm_nt(a, b, [256, 0, 128])
        x, w = decode(a, (1, 128)), decode(b, (1, 128))
        self.assertLess(hadal.calc_diff(d[0], x[:, :256] @ w[:, :256].T), 1e-12)
        self.assertTrue((d[1] == 0).all())
        self.assertLess(hadal.calc_diff(d[2], x[:, 256:] @ w[:, 256:].T), 1e-12)

    def test_mistakes_are_named(self):
        def says(sentence, call):
            with self.assertRaisesRegex(ValueError, sentence):
                call()

        codes, scales = self.b
        says("a has 400 columns and b has 300",
             lambda: hadal.fp8_gemm_nt(self.a, (codes[:, :300].copy(), scales[:, :3])))
        says("the scales of b has the shape .* 136 x 4",
             lambda: hadal.fp8_gemm_nt(self.a, (codes, scales[:, :2])))
        says("out_dtype is fp4", lambda: hadal.fp8_gemm_nt(self.a, self.b, out_dtype="fp4"))
        says("n is 130; it must be a multiple of 8",
             lambda: hadal.fp8_gemm_nt(self.a, (codes[:130].copy(), scales)))
        says("c has the shape", lambda: hadal.fp8_gemm_nt(self.a, self.b, c=np.zeros((2, 2), np.float32)))
        says("c must be float32", lambda: hadal.fp8_gemm_nt(self.a, self.b, c=np.zeros((70, 136))))
        says("groups\\[0\\] is 7; it must be -1 to 0",
             lambda: hadal.m_grouped_fp8_gemm_nt_contiguous(
                 self.a, (codes[None], scales[None]), np.full(70, 7)))


if __name__ == "__main__":
    unittest.main()
