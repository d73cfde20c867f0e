# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Linear diffusion is power iteration
#
# *Weitzner, Delbracio, Milanfar and Giryes 2024, [arXiv 2410.14730](https://arxiv.org/abs/2410.14730), measured on
# 1,000 handwritten digits. Ten minutes of reading.*
#
# ## The claim
#
# Take data $x_0$ of $p$ values, and add noise in levels, $x_t = x_0 + s_t\,\xi_t$. Let $U_t$ hold the $k$ leading
# principal components of *noisy samples* of level $t$. The paper's denoiser of a level is the projection on them,
#
# $$D_t = U_t U_t^\top ,$$
#
# and generation applies the denoisers one after the other to white noise $\varepsilon$, from the noisiest level to the
# clean one:
#
# $$x_g = P\,\varepsilon, \qquad P = U_0 U_0^\top\; U_1 U_1^\top \cdots U_T U_T^\top = U_0\, C_T\, U_T^\top .$$
#
# A component of large variance turns little when noise is added, one of small variance turns a lot. If neighbouring
# bases differ by $U_t^\top U_{t+1} \approx \mathrm{diag}(c_0, c_1, \dots)$ with $c_0 > c_1 > \dots$, then
#
# $$C_T \approx c_0^T\, \mathrm{diag}\!\left(1, (c_1/c_0)^T, (c_2/c_0)^T, \dots\right) :$$
#
# the chain acts like **power iteration** and tends to $u_0 u_0^\top$. All generated samples become multiples of the
# leading component. Its norm tends to zero, which the paper sets aside: only the direction counts.
#
# Two quantities measure it. The energy of generated samples along each component, over their sum, is $e_i$ (equation
# 26). The *effective modes* are $(\sum e)^2 / \sum e^2$: $k$ if all components are equal, 1 if one has everything.
#
# Below, each part of this argument is an experiment. Intervals are at 95 %, by Student's t over independent draws of
# the noise, unless stated otherwise.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import downhill
from downhill import linear, studies

plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "axes.spines.top": False,
                     "axes.spines.right": False, "font.size": 10})


def interval(values):
    """Returns the mean over the first axis, and half of its 95 % interval."""
    values = np.asarray(values)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(0, ddof=1) / np.sqrt(len(values))
    return values.mean(0), half


def show(rows, titles, columns=8):
    """Shows rows of images of 28 x 28, each image scaled to its largest magnitude."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(columns * 0.8, len(rows) * 1.1), squeeze=False)
    for axis, images, title in zip(axes[:, 0], rows, titles):
        scaled = [image.reshape(28, 28) / np.abs(image).max() for image in images[:columns]]
        axis.imshow(np.hstack([np.pad(image, 1) for image in scaled]), cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_axis_off()
        axis.set_title(title, loc="left", fontsize=9)
    plt.show()


# %% [markdown]
# ## The data
#
# The 10,000 digits that the package embeds are in `data/digits`, in the files of MNIST. We take the first 1,000, as
# numbers from 0 to 1, and subtract their mean. Without that, the mean would be the leading component, and concentration
# on it would be no news.

# %%
digits = downhill.data("digits").reshape(-1, 784) / 2 + 0.5
X = digits[:1000]
n, p = X.shape
k = 8

pca = downhill.PCA(n_components=k, random_state=0).fit(X)
variances = pca.explained_variance_ * (n - 1) / n
show([X[:8] - pca.mean_, pca.components_], ["digits less their mean", "components 0 to 7"])
print("variances along them:", variances.round(2))

# %% [markdown]
# Components 4 and 5 have nearly the same variance, 2.40 and 2.35. Remember these two.
#
# ## 1. Components turn as noise grows
#
# We add noise up to a variance of 1 per pixel in ten levels, five times, and measure the angle of each component to the
# clean one. Nadler's formula (2008) is the theory for one component alone in many dimensions: with $r = \lambda / s^2$
# and $\gamma = p/n$,
#
# $$\cos^2 \theta = \frac{1 - \gamma / r^2}{1 + \gamma / r} \quad\text{if } r > \sqrt\gamma, \text{ else } 0 .$$

# %%
turned = linear.angles(X, k, steps=10, variance=1.0, draws=5)
mean, half = turned.mean, turned.half_width

figure, axis = plt.subplots(figsize=(6, 3.6))
for i, colour in zip((0, 1, 2, 4, 5), ("#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7")):
    axis.plot(turned.variances, mean[:, i], color=colour, label=f"component {i}")
    low, high = mean[:, i] - half[:, i], mean[:, i] + half[:, i]
    axis.fill_between(turned.variances, low, high, color=colour, alpha=0.15, lw=0)
    axis.plot(turned.variances, turned.nadler[:, i], "--", color=colour, lw=1)
axis.set(xlabel="variance of the noise", ylabel="sine of the angle to the clean component", ylim=(0, 1))
axis.legend(fontsize=8, title="dashed: Nadler", title_fontsize=8)
plt.show()

correlations = [stats.spearmanr(range(k), draw[-1]).statistic for draw in turned.sines]
order, order_half = interval(correlations)
print(f"sines at variance 1: {mean[-1].round(2)} +- {half[-1].round(2)}")
print(f"rank correlation of index and sine: {order:.2f} +- {order_half:.2f} (5 draws; 0 if the order were random)")

# %%
# The space that components 4 and 5 span, against each of them alone: the larger of its two principal angles.
pair_sines = []
for seed in range(5):
    bases = linear.chain(X, k, steps=1, variance=0.1, seed=seed).bases
    first, last = bases[0, 4:6], bases[-1, 4:6]
    pair = np.sqrt(1 - np.linalg.svd(first @ last.T, compute_uv=False).min() ** 2)
    alone = np.sqrt(1 - (first * last).sum(1) ** 2)
    pair_sines.append([pair, *alone])
(pair, four, five), pair_half = interval(pair_sines)
print(f"at variance 0.1: space of 4 and 5 {pair:.2f} +- {pair_half[0]:.2f}, alone {four:.2f} +- {pair_half[1]:.2f} "
      f"and {five:.2f} +- {pair_half[2]:.2f}")

# %% [markdown]
# *Holds as a trend.* Components of large variance turn less: the rank correlation is far from 0. But components 4 and
# 5, whose variances are 2 % apart, turn within the space that they span, which itself turns less. The premise of the
# theorem, angles ordered by index, depends on gaps between variances. Nadler's formula knows no neighbours, and is too
# low for all but the first component.

# %%
assert order - order_half > 0.4
assert (np.diff(mean[-1, :3]) > 0).all(), "the first three turn in the order of their variances"
assert pair < min(four, five), "the space of 4 and 5 turns less than either"
assert abs(mean[-1, 0] - turned.nadler[-1, 0]) < 0.05
assert (mean[-1, 1:] > turned.nadler[-1, 1:]).all()

# %% [markdown]
# ## 2. Below a threshold a component is lost
#
# Nadler's formula has a threshold: under too much noise, the leading component of the samples has nothing to do with
# the signal. We check it where it applies, on one direction of variance $r$ in white noise of variance 1, with 200
# samples of 100 values ($\gamma = 1/2$, threshold 0.71), ten data sets per point. A random direction has a $\cos^2$ of
# $1/100$ on average.

# %%
spike = studies.transition(samples=200, gammas=[0.5], ratios=[0.2, 0.3, 0.5, 0.7, 1, 1.4, 2, 3, 5, 8], draws=10)
table = spike.tables["transition"]
ratio, measured, error = (table[name] for name in ("ratio", "cos_squared", "cos_squared_error"))

figure, axis = plt.subplots(figsize=(5, 3))
fine = np.geomspace(0.15, 10, 300)
axis.plot(fine, linear.cos_squared(fine, 0.5), color="0.5", label="Nadler")
axis.errorbar(ratio, measured, 1.96 * error, fmt="o", ms=4, color="#0072b2", label="measured, 95 %")
axis.axhline(1 / 100, color="0.7", ls=":", label="random direction")
axis.set(xscale="log", xlabel="variance of the signal over that of the noise", ylabel="$\\cos^2$")
axis.legend(fontsize=8)
plt.show()

theory = linear.cos_squared(ratio, 0.5)
print(f"at r = 0.2: {measured[0]:.3f} +- {error[0]:.3f}; at r = 0.7: {measured[3]:.3f}; at r = 8: {measured[-1]:.3f}")
print(f"largest difference from the formula at r >= 1: {np.abs(measured - theory)[4:].max():.3f}")

# %% [markdown]
# *Holds.* Near the threshold, a finite data set is smoother than the limit.

# %%
assert measured[0] < 0.05 and measured[-1] > 0.9
assert np.abs(measured - theory)[4:].max() < 0.1

# %% [markdown]
# ## 3. The product, and its dependence on the noise
#
# The paper does not settle one question, and everything hangs on it: how is the noise of one level related to that of
# the next? We run the same chain, of 40 levels and total variance 1, in three ways.
#
# - **fresh**: each level has new noise, $x_t = x_0 + s_t\,\xi_t$.
# - **nested**: the forward process of diffusion, $x_t = x_{t-1} + \sigma_t\,\xi_t$. Neighbouring levels share most of
#   their noise.
# - **shared**: one draw for all levels, $x_t = x_0 + s_t\,\xi$.

# %%
chains = {name: linear.chain(X, k, steps=40, variance=1.0, coupling=name) for name in ("fresh", "nested", "shared")}

figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.8))
for axis, (name, chain) in zip(axes, chains.items()):
    product = np.abs(chain.partial_products[-1])
    mesh = axis.imshow(product / product.max(), cmap="viridis", vmin=0, vmax=1)
    axis.set_title(f"{name}: {chain.participation_ratio[-1]:.2f} effective modes", fontsize=9)
    axis.set(xticks=range(k), yticks=range(k))
figure.colorbar(mesh, ax=axes, shrink=0.8, label="$|C_T|$ over its largest entry")
plt.show()

for name, chain in chains.items():
    print(f"{name:6}  energy on u_0 {chain.energy[-1, 0]:.3f}, ln of the norm of P {chain.log_norms[-1]:.1f}")

# %% [markdown]
# With fresh noise, $C_{40}$ is nearly a single entry: power iteration. With the other two it is not. A single chain may
# be an accident, so we take three draws each, and vary the number of steps. The paper's proof takes another schedule,
# $\sigma_t = 1/T$, whose total variance is $1/T$: the noise vanishes as the steps become many.

# %%
STEPS = (4, 10, 25)


def modes(coupling, schedule="constant"):
    """Returns effective modes over numbers of steps, (draws, steps)."""
    found = [
        linear.energies(X, k, steps=steps, schedule=schedule, variance=1.0, coupling=coupling, draws=3).participation
        for steps in STEPS
    ]
    return np.transpose(found)


fresh = modes("fresh")

# %%
nested = modes("nested")

# %%
shared = modes("shared")

# %%
inverse = modes("fresh", "inverse")

# %%
figure, axis = plt.subplots(figsize=(5.5, 3.2))
lines = {"fresh": fresh, "nested": nested, "shared": shared, "fresh, $\\sigma_t = 1/T$": inverse}
for (name, found), colour in zip(lines.items(), ("#0072b2", "#d55e00", "#009e73", "#cc79a7")):
    centre, width = interval(found)
    axis.errorbar(STEPS, centre, width, marker="o", ms=4, capsize=3, color=colour, label=name)
    print(f"{name:24} " + ", ".join(f"T = {t}: {m:.2f} +- {h:.2f}" for t, m, h in zip(STEPS, centre, width)))
powers = variances ** (2 * np.arange(1, 26)[:, None])
axis.plot(range(1, 26), powers.sum(1) ** 2 / (powers**2).sum(1), color="0.6", ls="--", label="power iteration")
axis.set(xscale="log", xticks=STEPS, xticklabels=STEPS, xlabel="steps T", ylabel="effective modes of 8", ylim=(0, 8.4))
axis.minorticks_off()
axis.legend(fontsize=8, loc="lower left")
plt.show()

# %% [markdown]
# *Holds with fresh noise and a constant total variance*: more steps concentrate further, as the theorem states. (The
# dashed curve is power iteration with the covariance itself, for comparison.)
#
# *Does not hold with the noise of the forward process*: neighbouring bases are so close to each other that the whole
# loss has a finite limit, and more steps hardly concentrate further. *Does not hold with $\sigma_t = 1/T$*, the
# schedule of the proof: the factors $c_i$ tend to 1 faster than their number grows.

# %%
assert (np.diff(fresh.mean(0)) < 0).all() and fresh[:, -1].max() < 2.5
assert nested.min() > 6 and abs(nested.mean(0)[-1] - nested.mean(0)[1]) < 1
assert shared.min() > 7 and inverse[:, -1].min() > inverse[:, 0].max() - 1 and inverse.min() > 6
assert chains["fresh"].log_norms[-1] < -2 < chains["nested"].log_norms[-1]

# %% [markdown]
# ## 4. The samples
#
# `downhill.LinearDiffusion` is the chain as an estimator of scikit-learn. Its samples show the collapse. Colours are
# signs: red is more ink than the mean, blue is less.

# %%
generated = {}
for name in ("fresh", "nested"):
    model = downhill.LinearDiffusion(k, steps=40, variance=1.0, coupling=name, random_state=0).fit(X)
    generated[name] = model.sample(64, random_state=1) - model.mean_
show(list(generated.values()), ["fresh noise at each level", "noise of the forward process"])


def likeness(samples):
    """Returns |cos| of each disjoint pair of samples."""
    unit = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    return np.abs((unit[::2] * unit[1::2]).sum(1))


white = np.random.default_rng(0).standard_normal((20000, k))
null = likeness(white).mean()
alike = {name: interval(likeness(samples)) for name, samples in generated.items()}
for name, (centre, width) in alike.items():
    print(f"{name:6}  |cos| of two samples {centre:.2f} +- {width:.2f} (32 pairs)")
print(f"for white noise in {k} modes: {null:.2f}")

# %% [markdown]
# With fresh noise most samples are the leading component, up to sign and size: it has nine tenths of the energy. With
# the noise of the forward process, two samples are no more alike than white noise in eight dimensions, as far as 32
# pairs can tell.

# %%
assert alike["fresh"][0] - alike["fresh"][1] > alike["nested"][0] + alike["nested"][1]
assert abs(alike["nested"][0] - null) < 2 * alike["nested"][1]

# %% [markdown]
# ## 5. The baseline: diffusion that is linear and does not collapse
#
# A trained linear denoiser is not a projection. The best linear denoiser in mean square is the **Wiener filter**,
#
# $$\mathrm E[x_0 \mid x] = m + S\,(S + \sigma^2 I)^{-1} (x - m) ,$$
#
# with the mean $m$ and the covariance $S$ of the data. DDIM with it multiplies a mode of variance $\lambda$ by
# $\prod (\lambda + s r) / (\lambda + s^2)$ over its levels $s$ and next levels $r$. In the limit of many steps that is
# $\sqrt{\lambda / (\lambda + s_T^2)}$: from noise far above the data, the Gaussian of the data.

# %%
wiener = linear.wiener(X)
first = 10 * np.sqrt(linear.spectrum(X).variances.sum())
levels = linear.spacing("exponential", 60, first)
walked = wiener.draw(256, sigmas=levels, sampler="ddim", clip=False)
show([walked - pca.mean_], ["samples of the Wiener filter, 60 steps"])

# %%
share = ((walked - pca.mean_) @ pca.components_.T).var(0, ddof=1) / variances
formula = linear.gain("ddim", variances, levels) ** 2 * first**2 / variances
low, high = stats.chi2.ppf([0.025, 0.975], 255) / 255

figure, axis = plt.subplots(figsize=(5, 2.8))
axis.errorbar(range(k), share, [share - share / high, share / low - share], fmt="o", ms=4, color="#0072b2", capsize=3,
              label="256 samples, 95 %")
axis.plot(range(k), formula, "_", ms=14, color="#d55e00", label="closed form, 60 steps")
axis.axhline(1, color="0.6", ls=":", label="the data")
axis.set(xlabel="component", ylabel="variance over that of the data", ylim=(0, 1.6))
axis.legend(fontsize=8)
plt.show()

within = (share / high < formula) & (formula < share / low)
energy = share * variances
wiener_modes, data_modes = linear.participation_ratio(energy), linear.participation_ratio(variances)
print(f"closed form: {formula.min():.3f} to {formula.max():.3f} of the data's variance, "
      f"inside {within.sum()} of {k} intervals")
print(f"effective modes: {wiener_modes:.2f} generated, {data_modes:.2f} in the data")

# %% [markdown]
# *Linear diffusion in its usual form does not collapse.* It recovers the Gaussian of the data, without noise injected
# on the way. The paper's chain differs in two respects: its denoisers are projections that are *estimated from noisy
# samples*, and they are applied as they are, without a DDIM step. If the projections are those of the population, they
# commute, $P = U_0 U_0^\top$, and nothing concentrates:

# %%
population = linear.pca(X, k)
noise = np.random.default_rng(1).standard_normal((512, p)).astype("float32")
state = noise
for sigma in np.linspace(1.0, 0.025, 40):
    state = population.denoise(state + pca.mean_.astype("float32"), sigma) - pca.mean_
flat = linear.participation_ratio(((state @ pca.components_.T) ** 2).mean(0))
print(f"effective modes of 40 projections on the clean components: {flat:.2f} of {k} (512 draws)")

# %%
assert within.sum() >= 6 and formula.min() > 0.85
assert abs(wiener_modes - data_modes) < 1
assert flat > 7.8

# %% [markdown]
# ## Conclusion
#
# | the claim | on these digits |
# |---|---|
# | components of large variance turn least | holds as a trend; close neighbours mix, whatever their index |
# | below a threshold a component is lost | holds |
# | the product tends to $u_0 u_0^\top$ | holds with fresh noise at each level and a constant total variance |
# | ... with the noise of the forward process | does not hold: about 7 of 8 modes remain at 4 to 40 steps |
# | ... with $\sigma_t = 1/T$, the schedule of the proof | does not hold |
# | linear diffusion collapses | not with the Wiener filter, which recovers the Gaussian |
#
# So the title is true of one chain: projections on components that are estimated at each level under independent noise.
# There, concentration is an effect of *estimation*, since the exact components commute. It is not a property of
# diffusion with linear denoisers.
#
# What this page does not show: more than one data set, other numbers of components, and the Jacobian of a network, for
# which the paper claims the same trend. The latter is at most a trend on these digits, and the whole account, with the
# commands behind it, is in [linear-diffusion.md](../linear-diffusion.md). Intervals here are over draws of the noise
# for fixed data; they say nothing about other data.
