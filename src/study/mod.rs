//! The papers' experiments, one file each: settings and data in, [`results::Results`] out, with the names of the files,
//! the tables, the figures as data and the findings. Writing and drawing them is left to the caller.
//!
//! | of linear diffusion | question |
//! |---|---|
//! | [`pca`] | the principal components of data |
//! | [`product`] | the product of projections under each coupling of noise, by [`chain`] |
//! | [`angles`] | the turning of components as noise grows |
//! | [`assumptions`] | the order in which components leave the small-angle regime, and equation 24 |
//! | [`transition`] | the signal-to-noise ratio at which a component finds its direction |
//! | [`energy`] | the modes that a linear chain generates |
//! | [`baseline`] | chains that keep the spectrum, by the closed forms of [`gains`] |
//! | [`trained`] | a linear denoiser trained by gradient descent, beside its closed form |
//! | [`best`] | the noise schedules that are best for a spectrum, by [`schedules`], [`overlap`] and [`optimise`] |
//! | [`jacobian`] | the leading eigenvectors of a denoiser's Jacobian along its trajectories |
//! | [`environments`] | the distance over which a Jacobian predicts its denoiser, and the states that share one |
//!
//! | of denoisers | question |
//! |---|---|
//! | [`norms`], [`error`] | the norm of eps, and its distance from the noise that was added |
//! | [`projection`], [`constancy`] | the prediction as a projection, and the turns of the gradient |
//! | [`error_model`], [`promise`] | the error model of a denoiser, and its promise for a schedule |
//! | [`variances`] | the second moment of eps, for Analytic-DDIM |
//! | [`basis`] | the eigenvectors of a denoiser's Jacobian as bases of its images, and loops of its field |
//! | [`dimension`], [`manifolds`] | the dimension of data, and samplers where it is large |
//! | [`compare`], [`gamma`] | samplers at equal network calls, and the weight of the newest eps |
//! | [`guidance`] | the weight of the newest eps with guidance |
//! | [`frechet`] | the distance of one set of images from another |
//! | [`gaussian`] | the distance of a denoiser from the Gaussians of its data, by [`predictions`] |
//! | [`local`] | the patches that predict a denoiser and its samples, by [`predictions`] |
//! | [`restorations`] | methods and samplers for inverse problems on the same measurements |
//!
//! [`nadler`] is the theory of spikes, [`estimate`] the uncertainty of a mean, [`rank`] that of an order,
//! [`statistics`] summaries of many numbers, [`panels`] the figures over noise levels, [`subject`] a model as the
//! denoiser of a study, [`trajectories`] its walks, and [`parts`] measurements that several runs share.

pub mod angles;
pub mod assumptions;
pub mod baseline;
pub mod basis;
pub mod best;
pub mod chain;
pub mod compare;
pub mod constancy;
pub mod dimension;
pub mod energy;
pub mod environments;
pub mod error;
pub mod error_model;
pub mod estimate;
pub mod frechet;
pub mod gains;
pub mod gamma;
pub mod gaussian;
pub mod guidance;
pub mod jacobian;
pub mod local;
pub mod manifolds;
pub mod metric;
pub mod metric_spec;
pub mod nadler;
pub mod norms;
pub mod optimise;
pub mod overlap;
pub mod panels;
pub mod parts;
pub mod pca;
pub mod predictions;
pub mod product;
pub mod projection;
pub mod promise;
pub mod rank;
pub mod restorations;
pub mod results;
pub mod schedules;
pub mod statistics;
pub mod subject;
pub mod trained;
pub mod trajectories;
pub mod transition;
pub mod variances;

/// A callback that counts the units of a study that are done.
pub type Advance<'a> = &'a dyn Fn(u64);
