# SPDX-License-Identifier: Apache-2.0
"""What is made of a bag besides another bag: masks as files, what a report needs."""
