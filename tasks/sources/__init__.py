"""The formats that feedback is read from: one small file each, and the list of them.

A format turns a path into source rows. Each row gives comparisons with their judgments, as the source wrote them, or the
reason why it cannot: a bad row is never an error. A file that is missing, unreadable or has the wrong columns is one.
"""

from pathlib import Path

from tasks.sources.detection import AUTO, detect
from tasks.sources.format import Format, table
from tasks.sources.formats import (
    arena,
    argilla,
    chosen_rejected,
    label_studio,
    llmfao,
    native,
    pandalm,
    qa_feedback,
    rankings,
    rated_responses,
    ratings,
    strengths,
    toloka,
    transcripts,
    ultrafeedback,
)

FORMATS = {
    "native": Format(native.__doc__ or "", native.DETECTED_BY, native.recognises, native.files, native.parse),
    "chosen_rejected": table(chosen_rejected),
    "transcripts": table(transcripts),
    "rankings": table(rankings),
    "ratings": table(ratings),
    "rated_responses": rated_responses.FORMAT,
    "ultrafeedback": table(ultrafeedback),
    "strengths": table(strengths),
    "arena": table(arena),
    "argilla": table(argilla),
    "label_studio": table(label_studio),
    "toloka": table(toloka),
    "qa_feedback": table(qa_feedback),
    "llmfao": Format(llmfao.__doc__ or "", llmfao.DETECTED_BY, llmfao.recognises, llmfao.files, llmfao.parse),
    "pandalm": Format(pandalm.__doc__ or "", pandalm.DETECTED_BY, pandalm.recognises, pandalm.files, pandalm.parse),
}


def format_of(name: str, path: Path) -> tuple[str, str]:
    """The format of a source by its name in the recipe, or told from its rows; and why.

    Raises:
        InputError: it is to be told, and no format fits or several do.
    """
    return detect(path, FORMATS) if name == AUTO else (name, "the recipe names it")


__all__ = ["AUTO", "FORMATS", "Format", "format_of"]
