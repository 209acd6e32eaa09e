# SPDX-License-Identifier: Apache-2.0
"""Say it in words: a request becomes prompts, prompts become a mask, the stream's memory follows it (SEGR1 10.1).

One interface, several policies: :mod:`robotseg_core.instruct.rules` reads keywords and looks at the automatic masks,
:mod:`robotseg_core.instruct.qwen` asks a vision-language model.
"""
