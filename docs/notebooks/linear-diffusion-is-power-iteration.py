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
# *When it is, and when it is not. Weitzner, Delbracio, Milanfar and Giryes 2024,
# [arXiv 2410.14730](https://arxiv.org/abs/2410.14730), measured on 1,000 handwritten digits. Ten minutes of reading.*
#
# ## The claim
#
# Take $n$ samples $x_0$ of $p$ values, and add noise in levels, $x_t = x_0 + s_t\,\xi_t$ with $\xi_t$ standard normal.
# Step $t$ adds noise of deviation $\sigma_t$, and $s_t^2 = \sigma_1^2 + \dots + \sigma_t^2$ is the sum. Let the columns
# $u_i^{(t)}$ of $U_t$ be the $k$ leading principal components of the *noisy samples* of level $t$. The paper's denoiser
# of a level is the projection on them,
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
# the chain acts like **power iteration**: the small matrix $C_T$, which says how much of component $j$ of the noisiest
# level ends on component $i$ of the clean one, tends to a single entry up to scale. So $P$ tends in direction to
# $u_0^{(0)} u_0^{(T)\top}$, and $P P^\top$, the covariance of what is generated, to $u_0^{(0)} u_0^{(0)\top}$: all
# samples become multiples of the leading component. The norm of $P$ tends to zero, which the paper sets aside.
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
    """Shows rows of images of 28 x 28, each image scaled to its own largest magnitude."""
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
# on it would be no news. Pictures here scale each image to its own maximum.

# %%
digits = downhill.data("digits").reshape(-1, 784) / 2 + 0.5
X = digits[:1000]
n, p = X.shape
k = 8

pca = downhill.PCA(n_components=k, random_state=0).fit(X)
variances = pca.explained_variance_ * (n - 1) / n
show([X[:8] - pca.mean_, pca.components_], ["centred digits", "components 0 to 7"])
print("variances along them:", variances.round(2))

# %% [markdown]
# Components 4 and 5 have nearly the same variance, 2.40 and 2.35. Remember these two.
#
# ## 1. Components turn as noise grows
#
# We add noise up to a variance of 1 per pixel in ten levels of nested noise ($x_t = x_{t-1} + \sigma_t\,\xi_t$), five
# times, and measure the angle of each component to the clean one. (The theorem needs the cosines $c_i$ between
# neighbouring levels; they depend on how the noise of levels is related, and section 3 has them.) Nadler's formula
# (2008) is the theory for one component alone in many dimensions: with $r = \lambda / s^2$ and $\gamma = p/n$,
#
# $$\cos^2 \theta = \frac{1 - \gamma / r^2}{1 + \gamma / r} \quad\text{if } r > \sqrt\gamma, \text{ else } 0 .$$

# %%
turned = linear.angles(X, k, steps=10, variance=1.0, draws=5)
mean, half = turned.mean, turned.half_width

figure, axis = plt.subplots(figsize=(7.2, 3.6))
for i, colour in zip((0, 1, 2, 4, 5), ("#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7")):
    style = (0, (4, 3)) if i == 5 else "-"              # components 4 and 5 coincide
    axis.plot(turned.variances, mean[:, i], ls=style, lw=2, color=colour, label=f"component {i}")
    low, high = mean[:, i] - half[:, i], mean[:, i] + half[:, i]
    axis.fill_between(turned.variances, low, high, color=colour, alpha=0.12, lw=0)
    axis.plot(turned.variances, turned.nadler[:, i], ":", color=colour, lw=1.2)
axis.set(xlabel="variance of the noise", ylabel="sine of the angle to the clean component", ylim=(0, 1))
axis.legend(fontsize=8, title="dotted: Nadler;\n3, 6, 7 omitted", title_fontsize=8, loc="upper left",
            bbox_to_anchor=(1, 1))
plt.show()

correlations = [stats.spearmanr(range(k), draw[-1]).statistic for draw in turned.sines]
order, order_half = interval(correlations)
print(f"sines at variance 1: {mean[-1].round(2)} +- {half[-1].round(2)}")
print(f"Nadler's formula:    {turned.nadler[-1].round(2)}")
excluded = np.flatnonzero(np.abs(mean[-1] - turned.nadler[-1]) > half[-1])
print(f"the interval excludes Nadler's value for the components {', '.join(map(str, excluded))}")
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
more, more_half = interval([min(four, five) - pair for pair, four, five in pair_sines])
print(f"at variance 0.1: space of 4 and 5 {pair:.2f} +- {pair_half[0]:.2f}, alone {four:.2f} +- {pair_half[1]:.2f} "
      f"and {five:.2f} +- {pair_half[2]:.2f}")
print(f"the smaller of the two minus that of the space, of the same draw: {more:.2f} +- {more_half:.2f}")

# %% [markdown]
# *Holds as a trend.* Components of large variance turn less: the rank correlation is far from 0. But components 4 and
# 5, whose variances are 2 % apart, turn within the space that they span, which itself turns less. The premise of the
# theorem, angles ordered by index, depends on gaps between variances. Nadler's formula knows no neighbours: five draws
# establish that it is too low for components 4 to 7. For 0 to 3, sets of five draws differ on it.

# %%
assert order - order_half > 0.4
assert (np.diff(mean[-1, :3]) > 0).all(), "the first three turn in the order of their variances"
assert more > 0, "the space of 4 and 5 turns less than either"
assert abs(mean[-1, 0] - turned.nadler[-1, 0]) < 0.05
assert set(excluded) >= {4, 5, 6, 7} and (mean[-1, 4:] > turned.nadler[-1, 4:]).all()

# %% [markdown]
# ## 2. Below a threshold a component is lost
#
# Nadler's formula has a threshold: under too much noise, and with ever more samples and values, the leading component
# is orthogonal to the signal. We check it on synthetic data for which it is made, one direction of variance $r$ in
# white noise of variance 1, with 200 samples of 100 values ($\gamma = 1/2$, threshold 0.71), ten data sets per point.
# A random direction has a $\cos^2$ of $1/100$ on average.

# %%
spike = studies.transition(samples=200, gammas=[0.5], ratios=[0.2, 0.3, 0.5, 0.7, 1, 1.4, 2, 3, 5, 8], draws=10)
table = spike.tables["transition"]
ratio, measured, error = (table[name] for name in ("ratio", "cos_squared", "cos_squared_error"))

width = stats.t.ppf(0.975, 9) * error              # ten data sets
figure, axis = plt.subplots(figsize=(5, 3))
fine = np.geomspace(0.15, 10, 300)
axis.plot(fine, linear.cos_squared(fine, 0.5), color="0.5", label="Nadler")
axis.errorbar(ratio, measured, width, fmt="o", ms=4, color="#0072b2", label="measured, 95 %")
axis.axhline(1 / 100, color="0.7", ls=":", label="random direction")
axis.set(xscale="log", xlabel="variance of the signal over that of the noise", ylabel="$\\cos^2$")
axis.legend(fontsize=8)
plt.show()

theory = linear.cos_squared(ratio, 0.5)
print("; ".join(f"at r = {ratio[i]}: {measured[i]:.3f} +- {width[i]:.3f}" for i in (0, 1, 3, 9)))
print(f"largest difference from the formula at r >= 1: {np.abs(measured - theory)[4:].max():.3f}")

# %% [markdown]
# *Holds for such data.* A finite data set is smoother than the limit: just below the threshold, the component still
# has something of the signal.

# %%
assert measured[0] < 0.05 and measured[-1] > 0.9 and measured[3] - width[3] > 1 / 100
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

figure, axes = plt.subplots(1, 3, figsize=(8, 2.9))
for axis, (name, chain) in zip(axes, chains.items()):
    product = np.abs(chain.partial_products[-1])
    mesh = axis.imshow(product / product.max(), cmap="viridis", vmin=0, vmax=1)
    axis.set_title(f"{name}: {chain.participation_ratio[-1]:.2f} effective modes", fontsize=9)
    axis.set(xticks=range(k), yticks=range(k), xlabel="component of level T")
axes[0].set_ylabel("component of level 0")
figure.colorbar(mesh, ax=axes, shrink=0.8, label="$|C_T|$ over its largest entry")
plt.show()

for name, chain in chains.items():
    print(f"{name:6}  energy on u_0 {chain.energy[-1, 0]:.3f}, ln of the Frobenius norm {chain.log_norms[-1]:.2f}, "
          f"geometric means of c_i {np.exp(np.log(chain.cos_adjacent).mean(0)).round(2)}")
print(f"ln of the Frobenius norm if nothing is lost: {np.log(np.sqrt(k)):.2f}")
kept = np.log(chains["nested"].cos_adjacent).sum(0)[:2]
first_order = -0.5 * p / n * (1 / variances + 1 / variances**2)[:2]
print(f"nested, ln of the product of c_0 and of c_1: {kept.round(3)}, to first order {first_order.round(3)}")

# %% [markdown]
# With fresh noise, $C_{40}$ is nearly a single entry: power iteration. With the other two it is not. A single chain may
# be an accident, so we take three draws each, and vary the number of steps. We also take nested noise of variance 9,
# and the schedule of the paper's proof, $\sigma_t = 1/T$, whose total variance $1/T$ vanishes as the steps become many.
#
# For nested noise, first-order perturbation gives a limit. The noise that step $t$ adds turns component $i$ away from
# itself by $1 - c_i \approx \frac12 \frac pn \sigma_t^2 (\lambda_i + 2 s_t^2) / \lambda_i^2$, and the sum over
# steps tends to an integral, up to the total variance $S$. Without the neighbours among the components,
#
# $$\ln \prod_t c_i \approx -\tfrac12\,\tfrac pn \left(\frac{S}{\lambda_i} + \frac{S^2}{\lambda_i^2}\right)
#   \quad\text{whatever } T .$$

# %%
STEPS = (4, 10, 25)


def modes(coupling, schedule="constant", variance=1.0, counts=STEPS):
    """Returns effective modes over numbers of steps, (draws, steps)."""
    kind = {"schedule": schedule, "variance": variance, "coupling": coupling, "draws": 3}
    return np.transpose([linear.energies(X, k, steps=steps, **kind).participation for steps in counts])


fresh = modes("fresh")

# %%
nested = modes("nested")

# %%
shared = modes("shared")

# %%
inverse = modes("fresh", "inverse")

# %%
louder = modes("nested", variance=9.0, counts=STEPS[:2])

# %%
figure, axis = plt.subplots(figsize=(6.4, 3.2))
lines = {"fresh": fresh, "nested": nested, "shared": shared, "fresh, 1/T": inverse, "nested, S = 9": louder}
for (name, found), colour in zip(lines.items(), ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")):
    centre, width = interval(found)
    steps = STEPS[: len(centre)]
    axis.errorbar(steps, centre, width, marker="o", ms=4, capsize=3, color=colour, label=name)
    print(f"{name:13} " + ", ".join(f"T = {t}: {m:.2f} +- {h:.2f}" for t, m, h in zip(steps, centre, width)))
axis.set(xscale="log", xlabel="steps T", ylabel="effective modes of 8", ylim=(0, 8.4))
axis.set_xticks(STEPS, labels=[str(steps) for steps in STEPS])
axis.minorticks_off()
axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), title="total variance S = 1", title_fontsize=8)
plt.show()

# %% [markdown]
# *Holds with fresh noise and a constant total variance*: more steps concentrate further, as the theorem states.
#
# *Does not hold with the noise of the forward process*: of total variance 1, about 7 of 8 modes remain at 4 to 40
# steps, as the limit says. With variance 9 few remain, and already at 4 steps: it is the noise, not the number of
# steps, that decides. *Does not hold with $\sigma_t = 1/T$*: the factors $c_i$ tend to 1 faster than their number
# grows. In both cases three draws do not exclude a slow change with the number of steps.

# %%
assert (np.diff(fresh.mean(0)) < 0).all() and fresh[:, -1].max() < 2.5
assert nested.min() > 6 and abs(nested.mean(0)[-1] - nested.mean(0)[1]) < 1 and louder.max() < 4
assert np.allclose(kept, first_order, rtol=0.25)
assert shared.min() > 7 and inverse[:, -1].min() > inverse[:, 0].max() - 1 and inverse.min() > 6
assert chains["fresh"].log_norms[-1] < -2 < chains["nested"].log_norms[-1]

# %% [markdown]
# ## 4. The samples
#
# `downhill.LinearDiffusion` is the chain as an estimator of scikit-learn. Its samples show the collapse. Red is more
# ink than the mean, blue is less. Each image is scaled to its own maximum, so sizes do not show. Samples of a linear
# map are Gaussian, and not meant to look like digits.

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
one = generated["fresh"]
near = (one @ pca.components_[0]) ** 2 / (one**2).sum(1) > 0.9
low, high = stats.binomtest(int(near.sum()), len(near)).proportion_ci()
print(f"fresh: within 18 degrees of the leading component {near.mean():.0%} of {len(near)} ({low:.0%} to {high:.0%})")

# %% [markdown]
# With fresh noise the leading component has nine tenths of the energy. That is a mean, to which large samples
# contribute most: about half of the samples are that component within 18 degrees ($\cos^2 > 0.9$). With the noise of
# the forward process, two samples are no more alike than white noise in eight dimensions, as far as 32 pairs can tell.

# %%
assert alike["fresh"][0] - alike["fresh"][1] > alike["nested"][0] + alike["nested"][1]
assert abs(alike["nested"][0] - null) < 2 * alike["nested"][1]

# %% [markdown]
# ## 5. The baseline: diffusion that is linear and does not collapse
#
# A trained linear denoiser is not a projection. The best linear denoiser in mean square is the **Wiener filter**,
#
# $$\mathrm E[x_0 \mid x] = m + \Sigma\,(\Sigma + \sigma^2 I)^{-1} (x - m) ,$$
#
# with the mean $m$ and the covariance $\Sigma$ of the data. A step of DDIM from level $s$ to the next, $\rho$, adds
# $(\rho - s)\,s\,(x - m) / (\lambda + s^2)$ to a mode of variance $\lambda$: it multiplies it by
# $(\lambda + s \rho) / (\lambda + s^2)$. In the limit of many steps the product is
# $\sqrt{\lambda / (\lambda + s_T^2)}$. Noise of variance $s_T^2$ becomes a Gaussian of variance
# $\lambda s_T^2 / (\lambda + s_T^2)$: nearly that of the data, if $s_T$ is far above it.

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
many = linear.gain("ddim", variances, linear.spacing("exponential", 600, first)) ** 2 * first**2 / variances
print(f"closed form: {formula.min():.3f} to {formula.max():.3f} of the data's variance, "
      f"inside {within.sum()} of {k} intervals; in 600 steps {many.min():.3f} to {many.max():.3f}")
print(f"effective modes: {wiener_modes:.2f} generated, {data_modes:.2f} in the data")

# %% [markdown]
# *Linear diffusion in its usual form does not collapse.* It recovers the Gaussian of the data, without noise injected
# on the way. The paper's chain differs in three respects: its denoisers are projections, they are *estimated from noisy
# samples*, and they are applied as they are, without a DDIM step. Two controls separate these. One applies projections
# on the exact components. The other applies the exact Wiener filters as they are, at $s_t^2 = t/T$:

# %%
population = linear.pca(X, k)
noise = np.random.default_rng(1).standard_normal((512, p)).astype("float32")
state = noise
for sigma in np.linspace(1.0, 0.025, 40):
    state = population.denoise(state + pca.mean_.astype("float32"), sigma) - pca.mean_
flat = linear.participation_ratio(((state @ pca.components_.T) ** 2).mean(0))
print(f"effective modes of 40 projections on the clean components: {flat:.2f} of {k} (512 draws)")

shrunk = {}
for steps in (*STEPS, 40):
    gains = np.prod([variances / (variances + level) for level in np.arange(1, steps + 1) / steps], 0)
    shrunk[steps] = linear.participation_ratio(gains**2)
print("exact Wiener filters, no DDIM step: " + ", ".join(f"T = {t}: {m:.2f}" for t, m in shrunk.items()))

# %% [markdown]
# Two things can concentrate: bases that rotate, because they are estimated under independent noise, and *shrinkage that
# is applied repeatedly* without a DDIM step. The exact Wiener filters commute, and still collapse about as fast as the
# chain with fresh noise (section 3) at the same steps. Exact projections do neither: they are idempotent.
# The DDIM step removes the second.

# %%
assert within.sum() >= 6 and formula.min() > 0.85
assert abs(wiener_modes - data_modes) < 1
assert flat > 7.8 and shrunk[40] < 1.5 and 0.99 < many.min() < 1
assert all(abs(shrunk[steps] - fresh.mean(0)[at]) < 1.2 for at, steps in enumerate(STEPS))

# %% [markdown]
# ## Conclusion
#
# | the claim | on these digits |
# |---|---|
# | components of large variance turn least | holds as a trend; close neighbours mix, whatever their index |
# | below a threshold a component is lost | holds, on synthetic spikes |
# | $P P^\top$ tends in direction to $u_0 u_0^\top$ | holds with fresh noise and a constant total variance |
# | ... with the noise of the forward process | does not hold: the noise decides, not the number of steps |
# | ... with $\sigma_t = 1/T$, the schedule of the proof | does not hold |
# | linear diffusion collapses | not with the Wiener filter, which recovers the Gaussian |
#
# So the title is true of chains of denoisers that are applied as they are, if they rotate at random or shrink. Collapse
# is a property of how denoisers are chained, not of linearity: with DDIM steps, the same filters recover the Gaussian.
#
# What this page does not show: more than one data set, other numbers of components, and the Jacobian of a network, for
# which the paper claims the same trend. The latter is at most a trend on these digits, and the whole account, with the
# commands behind it, is in [linear-diffusion.md](../linear-diffusion.md). Intervals here are over draws of the noise
# for fixed data; they say nothing about other data.
