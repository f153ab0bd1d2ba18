"""The figures of feedback quality by name: what each one is, and the parts of the data that it is given for."""

SLICE_KINDS = {
    "all": "all human judgments together; the slice is `all`",
    "source": "the source that a judgment came from",
    "domain": "the column `slice` of the comparisons",
    "annotator_group": "the sources that the annotator has judged in, joined by ` + `: the people of one vendor or tool, or of several",
    "day": "the day of the event time, in UTC",
    "model_pair": "the two models that wrote the responses, by name",
    "period": "`recent`, the last days of the snapshot by event time, or `trailing`, the days before them",
    "new": "what the batches brought that no earlier snapshot had which the data gate let through; the slice is `new`, of the first night "
    "it is everything",
    "new_source": "the same by source",
    "new_domain": "the same by the column `slice` of the comparisons",
    "filter": "agreement without the one-vote rule (`every_judgment`: a later judgment beside an earlier one of the same annotator), and "
    "`without_excluded_annotators`, where some are excluded; `all` lies between the two",
    "judge_model": "one model that judges, by its annotator id, against the people; never part of human agreement",
    "annotator_kind": "`model`: the models that judge, among themselves",
}
"""What a slice is a part by; rows of one kind of slice add up to what is known of that kind."""

AGREEMENT_FIGURES = {
    "krippendorff_alpha": "Krippendorff's alpha, nominal",
    "raw_agreement": "share of pairs of judgments on one comparison that agree, micro over pairs; ties are judgments (chance is 1/3)",
    "raw_agreement_without_ties": "the same among judgments that are no tie (chance is 1/2)",
    "raw_agreement_macro": "mean over comparisons of the share of agreeing pairs",
    "raw_agreement_macro_without_ties": "the same among judgments that are no tie",
    "krippendorff_alpha_ordinal": "Krippendorff's alpha, ordinal in the order a, tie, b",
    "krippendorff_alpha_interval": "Krippendorff's alpha, interval, with a, tie, b at 0, 1, 2",
    "gwet_ac1": "Gwet's AC1, over the three verdicts",
    "gwet_ac2_ordinal": "Gwet's AC2 with ordinal weights",
    "fleiss_kappa": "Fleiss' kappa, generalised to varying numbers of judgments",
    "leave_one_out_agreement": "share of decided judgments that agree with the majority of the comparison's others, where these have one",
}
"""Given with an interval from resampling comparisons."""

HUMAN_MODEL_FIGURES = {
    "human_model_agreement": "share of pairs of a person's and a model's judgment of one comparison that agree",
    "human_model_agreement_without_ties": "the same among judgments that are no tie",
    "human_model_kappa": "Cohen's kappa of those pairs, the people taken as one",
    "human_majority_agreement": "share of a model's decided judgments that agree with the people's majority, where these have one",
}
"""Given with an interval from resampling comparisons."""

SHARE_FIGURES = {
    "tie_share": "share of judgments that are a tie",
    "presented_first_share": "share of decided judgments for the response that stood first; 0.5 is no position bias",
    "longer_preferred_share": "share of decided judgments for the longer response (characters); length and quality are not told apart",
    "gold_passed_share": "share of judgments of gold comparisons that are the known verdict",
    "contradiction_share": "share of judgments with a strength that contradicts the verdict: above 0 of a tie, or 0 of a preference",
    "near_identical_decided_share": "share of judgments of nearly identical responses that prefer one",
    "near_identical_strong_share": "share of judgments of nearly identical responses, with a strength, that prefer one strongly: "
    "above the median strength of their source's preferences",
    "geometric_mean_seconds": "geometric mean of the seconds per judgment, of annotators who are known",
}
"""Given with an interval from resampling annotators."""

SINGLE_FIGURES = {
    "self_agreement": "share of an annotator's pairs of judgments of the same two responses that agree",
    "self_agreement_same_order": "the same, where both times the same response stood first",
    "self_agreement_swapped_order": "the same, where each time another response stood first",
    "cyclic_triad_share": "share of cyclic triads among three responses to one prompt whose three majorities are all decided",
    "annotator_cyclic_triad_share": "the same of each annotator's own judgments, all annotators' triads together",
    "length_coefficient": "effect of one standard deviation of the length difference on the log odds of being preferred, the quality of "
    "the models held fixed",
    "tie_share_spread": "standard deviation of the annotators' tie shares beyond what chance gives",
    "top_annotators_share": "share of the judgments that the busiest tenth of the annotators gave",
    "effective_annotators": "how many equally busy annotators would be as concentrated: 1 over the sum of squared shares",
    "volume_gini": "Gini coefficient of the annotators' numbers of judgments",
    "flagged_annotator_share": "share of annotators, among those with enough judgments, with at least one flag",
    "fatigue_agreement_slope": "change, per 100 judgments within a sitting, of the share that agrees with the majority of the others",
    "fatigue_log_seconds_slope": "change, per 100 judgments within a sitting, of the logarithm of the seconds per judgment",
    "krippendorff_alpha_change": "`krippendorff_alpha` of the recent days less that of the trailing days",
    "leave_one_out_agreement_change": "the same of `leave_one_out_agreement`",
    "tie_share_change": "the same of `tie_share`",
    "presented_first_share_change": "the same of `presented_first_share`",
    "log_seconds_change": "the logarithm of `geometric_mean_seconds` of the recent days less that of the trailing days",
}
"""Given for all judgments together."""

VOLUME_FIGURES = {
    "judgments": "judgments that count",
    "comparisons": "comparisons that were judged",
    "annotators": "annotators who are known",
    "largest_annotator_share": "share of the judgments that the busiest annotator gave",
    "quarantined_share": "share refused of the rows that were not known already, of all batches (`all`) and of the new ones (`new`)",
}
"""How much there is, of every slice; given without an interval."""

QUALITY_FIGURES = AGREEMENT_FIGURES | HUMAN_MODEL_FIGURES | SHARE_FIGURES | SINGLE_FIGURES | VOLUME_FIGURES

FLAGS = {
    "disagrees": "agrees with the majority of the others less than the annotators do together",
    "fails_gold": "passes gold comparisons less than the annotators do together",
    "one_sided": "favours the first or the second place otherwise than the annotators do together",
    "ties": "calls ties more or less often than the annotators do together",
    "fast": "takes far less time per judgment than the annotators typically do",
    "long_run": "gave one verdict in a row for longer than chance would have it",
    "favours_model": "prefers a model's responses more, or less, than the others do on the same comparisons",
}
"""Why an annotator deserves a look; a flag is a reason to look and no verdict."""
