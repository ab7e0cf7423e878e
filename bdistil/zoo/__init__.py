"""Networks: student bodies and teachers for each domain, in registries, and teacher training."""

from bdistil.zoo import (
    backbones,
    cnn,
    fcn,
    inverted,
    mlp,
    recurrent,
    resnet,
    separable,
    spectrogram,
    teachers,
    vit,
)
from bdistil.zoo.defaults import default_student, default_teacher
from bdistil.zoo.registry import (
    StudentClass,
    TeacherClass,
    build_teacher,
    register_student,
    register_teacher,
    student_class,
    student_classes,
    teacher_class,
    teacher_classes,
)
from bdistil.zoo.training import logits_in_batches, train_teacher

__all__ = [
    "StudentClass",
    "TeacherClass",
    "backbones",
    "build_teacher",
    "cnn",
    "default_student",
    "default_teacher",
    "fcn",
    "inverted",
    "logits_in_batches",
    "mlp",
    "recurrent",
    "register_student",
    "register_teacher",
    "resnet",
    "separable",
    "spectrogram",
    "student_class",
    "student_classes",
    "teacher_class",
    "teacher_classes",
    "teachers",
    "train_teacher",
    "vit",
]
