"""The paper's figures (Xiang et al., 2021), as its tables print them."""

from __future__ import annotations

Paper = dict[str, float]


def _row(psnr: float, ssim: float, lpips: float | None = None, params: float = 0, gmacs: float = 0) -> Paper:
    values = {"psnr": psnr, "ssim": ssim, "lpips": lpips, "params": params or None, "gmacs": gmacs or None}
    return {name: value for name, value in values.items() if value is not None}


# By (LR side, scale). HIME's rows go by the names of our checkpoints without the scale; params in millions.
TABLE_1: dict[tuple[int, int], dict[str, Paper]] = {
    (32, 4): {
        "bicubic": _row(25.64, 0.7752, 0.3229),
        "SRNTT": _row(28.02, 0.8434, 0.0682, 6.30, 36.47),
        "TTSR": _row(27.31, 0.8346, 0.0633, 6.73, 26.62),
        "SPARNet": _row(20.50, 0.6118, 0.1617, 85.73, 45.25),
        "PSFR-GAN": _row(25.47, 0.7709, 0.0981, 67.05, 117.84),
        "small-rec": _row(29.11, 0.8794, 0.1136, 0.87, 1.86),
        "small-perceptual": _row(27.16, 0.8269, 0.0464, 0.87, 1.86),
        "large-rec": _row(29.23, 0.8817, 0.1102, 9.23, 6.06),
        "large-perceptual": _row(27.05, 0.8224, 0.0461, 9.23, 6.06),
    },
    (64, 4): {
        "bicubic": _row(28.40, 0.8169, 0.2860),
        "SRNTT": _row(30.41, 0.8552, 0.0906, 6.30, 145.89),
        "TTSR": _row(29.87, 0.8484, 0.0851, 6.73, 106.48),
        "SPARNet": _row(23.26, 0.6990, 0.1341, 85.73, 180.99),
        "PSFR-GAN": _row(26.62, 0.7685, 0.1039, 67.05, 161.89),
        "DFDNet": _row(21.55, 0.6587, 0.1581, 133.34, 601.04),
        "small-rec": _row(31.24, 0.8785, 0.1611, 0.87, 7.48),
        "small-perceptual": _row(29.06, 0.8262, 0.0633, 0.87, 7.48),
        "large-rec": _row(31.28, 0.8789, 0.1600, 9.23, 24.24),
        "large-perceptual": _row(29.16, 0.8272, 0.0641, 9.23, 24.24),
    },
    (16, 8): {
        "bicubic": _row(21.83, 0.5929, 0.5247),
        "PFSR": _row(21.44, 0.5778, 0.2065, 10.08, 8.97),
        "FSRNet": _row(20.03, 0.5749, 0.2865, 15.52, 3.20),
        "GWAInet": _row(21.96, 0.5844, 0.2056, 4.29, 6.55),
        "SPARNet": _row(19.00, 0.5022, 0.2576, 85.73, 45.25),
        "PSFR-GAN": _row(22.05, 0.6102, 0.2062, 67.05, 117.84),
        "small-rec": _row(24.54, 0.7411, 0.2433, 0.90, 0.49),
        "small-perceptual": _row(22.45, 0.6338, 0.1297, 0.90, 0.49),
        "large-rec": _row(24.68, 0.7467, 0.2361, 9.26, 4.49),
        "large-perceptual": _row(23.35, 0.6744, 0.1313, 9.26, 4.49),
    },
}

TABLE_2 = {
    "convolution": _row(24.33, 0.7311, 0.2605),
    "deformable": _row(24.54, 0.7411, 0.2433),
    "deformable, flow-guided": _row(24.68, 0.7467, 0.2361),
}

TABLE_3 = {
    "average": _row(22.120, 0.6350, 0.4332),
    "max": _row(22.118, 0.6349, 0.4331),
    "CoFA": _row(24.381, 0.7339, 0.2533),
}

TABLE_4 = {"0": _row(23.84, 0.7088, 0.3440), "1": _row(24.35, 0.7318, 0.2572), "3": _row(24.54, 0.7409, 0.2433)}

TABLE_5 = {
    "30": _row(37.34, 0.9250),
    "60": _row(37.24, 0.9241),
    "120": _row(37.12, 0.9227),
    "blank": _row(36.81, 0.9207),
}

TABLE_7 = {"none": _row(22.60, 0.660), "uneven": _row(22.52, 0.654), "even": _row(23.63, 0.662)}
