from django.db import migrations

import django_task_safety.fields


class Migration(migrations.Migration):
    dependencies = [
        ("testapp", "0004_through"),
    ]

    operations = [
        migrations.CreateModel(
            name="Word",
            fields=[
                (
                    "text",
                    django_task_safety.fields.ExactCharField(max_length=20, primary_key=True, serialize=False),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
    ]
