"""Fields of A1111, Forge and SD.Next that Safelight ignores, and which of their values request nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

ValueTest = Callable[[object], bool]


def is_empty(value: object) -> bool:
    """Whether a value requests nothing in any field: null, false, zero or an empty value."""
    return value in (None, False, "", [], {}, 0)


def _anything(_: object) -> bool:
    return True


def _empty_or(*values: object) -> ValueTest:
    return lambda value: is_empty(value) or value in values


def _only(*values: object) -> ValueTest:
    return lambda value: value in values


def _not_above_zero(value: object) -> bool:
    return is_empty(value) or (isinstance(value, int) and value <= 0)


def _for_fields(names: str, test: ValueTest) -> dict[str, ValueTest]:
    return dict.fromkeys(names.split(), test)


STORAGE_FIELDS = _for_fields(
    """
    do_not_save_samples do_not_save_grid save_images samples_save grid_save grid_format return_grid
    save_images_before_highres_fix save_images_before_refiner save_images_before_detailer
    save_images_before_color_correction keep_incomplete include_mask outpath_samples outpath_grids
    """,
    _anything,
)
"""Fields that say where images are saved and what is returned beside them. Images always go to the gallery only. These
fields change no image, so they are not refused; the answer lists those that are set.
"""

KNOWN_FIELDS: Mapping[str, ValueTest] = MappingProxyType(
    STORAGE_FIELDS
    # Without effect unless another field is set.
    | _for_fields(
        """
        s_tmin s_tmax refiner_steps script_args disable_extra_networks
        do_not_reload_embeddings clip_skip_enabled
        hdr_boundary hdr_threshold hdr_max_center hdr_max_boundary hdr_color_picker hdr_apply_hires
        grading_clahe_grid grading_split_tone_balance grading_lut_strength
        """,
        _anything,
    )
    # Fields of A1111 and Forge, with the values that mean the same as no field.
    | _for_fields(
        """
        restore_faces script_name s_churn s_min_uncond firstphase_width firstphase_height
        firstpass_image latent_mask infotext comments
        """,
        is_empty,
    )
    | _for_fields("s_noise initial_noise_multiplier", _only(1, None))
    | _for_fields("seed_resize_from_w seed_resize_from_h", _not_above_zero)
    | {"hr_additional_modules": _empty_or(["Use same choices"])}
    # Fields of SD.Next, likewise.
    | _for_fields(
        """
        cfg_start cfg_rescale cfg_image guidance_start guidance_rescale guidance_true guidance_image
        hidiffusion img2img_color_correction color_correction_method img2img_background_color img2img_fix_steps
        mask_apply_overlay mask_for_overlay overlay_images paste_to samples_format jpeg_quality
        lora_fuse_native lora_fuse_diffusers lora_force_reload lora_apply_tags
        hdr_mode hdr_brightness hdr_color hdr_sharpen hdr_clamp hdr_maximize hdr_tint_ratio
        grading_brightness grading_contrast grading_saturation grading_hue grading_sharpness grading_shadows
        grading_midtones grading_highlights grading_clahe_clip grading_vignette grading_grain grading_lut_file
        width_before width_after width_mask height_before height_after height_mask
        resize_mode_before resize_mode_after resize_mode_mask
        selected_scale_tab selected_scale_tab_before selected_scale_tab_after selected_scale_tab_mask
        hr_force hr_resize_mode hr_denoising_strength hr_refiner_start refiner_start refiner_prompt refiner_negative
        enhance_prompt rembg xyz skip_processing network_data init_control control control_units face extra
        schedulers_timesteps schedulers_use_thresholding schedulers_use_loworder schedulers_solver_order
        uni_pc_variant schedulers_beta_start schedulers_beta_end schedulers_shift schedulers_dynamic_shift
        schedulers_base_shift schedulers_max_shift schedulers_rescale_betas schedulers_timesteps_range
        schedulers_sigma_adjust schedulers_sigma_adjust_min schedulers_sigma_adjust_max scheduler_eta
        eta_noise_seed_delta enable_batch_seeds nan_skip sequential_seed
        prompt_mean_norm diffusers_zeros_prompt_pad te_pooled_embeds te_complex_human_instruction te_use_mask
        tome_ratio todo_ratio token_merging_ratio sd_unet sd_model_refiner
        """,
        is_empty,
    )
    | _for_fields("cfg_name guidance_name", _empty_or("Default"))
    | _for_fields("cfg_stop guidance_stop grading_gamma inpainting_mask_weight", _empty_or(1))
    | _for_fields(
        "scale_by scale_by_before scale_by_after scale_by_mask extra_networks_default_multiplier",
        _empty_or(1),
    )
    | _for_fields("resize_name resize_name_before resize_name_after resize_name_mask", _empty_or("None"))
    | _for_fields(
        "resize_context resize_context_before resize_context_after resize_context_mask", _empty_or("None")
    )
    | _for_fields("hr_resize_context token_merging_method", _empty_or("None"))
    | _for_fields(
        "schedulers_timestep_spacing schedulers_beta_schedule schedulers_prediction_type",
        _empty_or("default"),
    )
    | {
        "guidance_scale": _only(None),
        "image_metadata": _only(True, None),
        "grading_color_temp": _empty_or(6500),
        "grading_shadows_tint": _empty_or("#000000"),
        "grading_highlights_tint": _empty_or("#ffffff"),
        "vae_type": _empty_or("Full"),
        "prompt_attention": _empty_or("native", "a1111"),
    }
)
"""Fields that one of the three programs knows, with the test for values that request nothing."""

SWITCH_BY_PREFIX: Mapping[str, str] = MappingProxyType(
    {
        "freeu_": "freeu_enabled",
        "hypertile_unet_": "hypertile_unet_enabled",
        "hypertile_vae_": "hypertile_vae_enabled",
        "hypertile_": "hypertile_unet_enabled",
        "teacache_": "teacache_enabled",
        "detailer_": "detailer_enabled",
    }
)
"""Prefixes of fields that only have an effect while another field is on."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "restore_faces": "There is no face restoration.",
        "script_name": "There are no scripts.",
        "s_churn": "Samplers do not support churn.",
        "s_noise": "Samplers do not support s_noise.",
        "s_min_uncond": "Guidance cannot be skipped by sigma; cfg_end ends it by steps.",
        "firstphase_width": "Give width and height of the first pass, and hr_resize_x and hr_resize_y.",
        "firstphase_height": "Give width and height of the first pass, and hr_resize_x and hr_resize_y.",
        "latent_mask": "Give mask.",
        "infotext": "Send the fields themselves; /sdapi/v1/png-info reads them.",
        "seed_resize_from_w": "Noise is not resized.",
        "seed_resize_from_h": "Noise is not resized.",
        "guidance_scale": "Give cfg_scale.",
        "samples_format": "Give it in override_settings.",
        "jpeg_quality": "Give it in override_settings.",
    }
)
