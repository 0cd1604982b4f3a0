"""Chat templates in the shapes of well-known families, and a generator of random ones. All text is our own."""

import random

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather at a place, \"now\" or later.",
        "parameters": {"type": "object", "properties": {
            "place": {"type": "string", "description": "Town <and> country"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, "required": ["place"]}}},
    {"type": "function", "function": {"name": "add", "description": "a + b", "parameters": {
        "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number", "default": 1.5}}, "required": []}}},
]

CONVERSATIONS = [
    [{"role": "user", "content": "Hello!"}],
    [{"role": "system", "content": "  You are terse. \n"}, {"role": "user", "content": " Why is the sky blue? "},
     {"role": "assistant", "content": "Rayleigh."}, {"role": "user", "content": "More, please — déjà vu 你好 😀"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"},
     {"role": "user", "content": "c\n\n"}, {"role": "assistant", "content": "d", "reasoning_content": "because"}],
    [{"role": "user", "content": "Weather in Oslo?"},
     {"role": "assistant", "content": None, "tool_calls": [
         {"id": "call_0001", "type": "function", "function": {"name": "get_weather", "arguments": {"place": "Oslo", "n": 1.0, "deep": [1, None, True]}}}]},
     {"role": "tool", "tool_call_id": "call_0001", "name": "get_weather", "content": "{\"t\": -3}"},
     {"role": "assistant", "content": "Minus three."}, {"role": "user", "content": "Thanks"}],
    [{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}]}],
    [{"role": "assistant", "content": "out of order"}, {"role": "user", "content": "?"}],
    [],
]

VARIABLES = [
    {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"},
    {"add_generation_prompt": False, "bos_token": "<s>", "eos_token": "</s>", "tools": TOOLS, "enable_thinking": False},
    {"add_generation_prompt": True, "bos_token": "<|begin|>", "eos_token": "<|end|>", "tools": None, "enable_thinking": True,
     "date_string": "26 Jul 2024", "documents": [{"title": "A & B", "text": "Text of it."}, {"title": "C", "text": "l1\nl2"}]},
]

FAMILIES = {
    "chatml": """{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "chatml with a default system": """{% for message in messages %}
{% if loop.first and messages[0]['role'] != 'system' %}
{{ '<|im_start|>system\nBe of help.<|im_end|>\n' }}
{% endif %}
{{ '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' }}
{% endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""",
    "llama 2": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Turns must alternate user/assistant') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama 3": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}""",
    "llama 3.1 with tools": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 Jan 2000" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message is taken out, so that it can go first. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\n\n"}}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("No first user message to put the tools into") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("Only one call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
""",
    "mistral": """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate!') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles!') }}{% endif %}{% endfor %}""",
    "mistral with tools": """{%- if messages and messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
            {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- else %}
                {{- "]" + eos_token }}
            {%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("unknown role") }}
    {%- endif %}
{%- endfor %}
""",
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}""",
    "gemma 3": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("roles must alternate") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
""",
    "phi 3": """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "phi 4": """{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'assistant') %}{{'<|im_start|>assistant<|im_sep|>'}}{% generation %}{{message['content'] + '<|im_end|>'}}{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}""",
    "qwen 2.5 with tools": """{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You help.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nCall one or more of these.\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nA call looks so:\n<tool_call>\n{\\"name\\": <name>, \\"arguments\\": <object>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""",
    "qwen 3 with thinking": """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true) %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and 'tool_calls' in message %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls'] %}{%- if not ns.is_first %}{{'<|Assistant|><|tool▁calls▁begin|>' + tool['type'] + '<|tool▁sep|>' + tool['function']['name'] + '\n' + '```json' + '\n' + tool['function']['arguments']|tojson + '\n' + '```' + '<|tool▁call▁end|>'}}{%- set ns.is_first = true -%}{%- else %}{{'\n' + tool['type']}}{%- endif %}{%- endfor %}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + '<|end▁of▁sentence|>'}}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<|tool▁outputs▁begin|>' + message['content']}}{%- set ns.is_output_first = false %}{%- else %}{{'\n' + message['content']}}{%- endif %}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'<|tool▁outputs▁end|>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|><think>\n'}}{% endif %}""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "vicuna": """{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content']|trim + '\n\n' %}{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %}{{ bos_token + system_message }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ 'USER: ' + message['content']|trim + '\n' }}{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + message['content']|trim + eos_token + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}""",
    "alpaca": """{% set sep = '\n\n' %}
{%- for m in messages -%}
    {%- if m.role == 'system' -%}{{ m.content.strip() ~ sep }}
    {%- elif m.role == 'user' -%}### Instruction:{{ '\n' ~ (m.content if m.content is string else m.content | map(attribute='text', default='') | join('')) ~ sep }}
    {%- elif m.role == 'assistant' -%}### Response:{{ '\n' ~ m.content ~ sep }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}### Response:
{% endif %}""",
    "command-r like": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = '## Task\\nHelp.' %}{% endif %}{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system_message }}{% if documents %}{{ '# Documents\n' }}{% for doc in documents %}{{ 'Document: ' ~ loop.index0 }}
{% for key, value in doc.items() %}{{ key | title }}: {{ value | indent(2) }}
{% endfor %}{% endfor %}{% endif %}{{ '<|END_OF_TURN_TOKEN|>' }}{% for message in loop_messages %}{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% elif message['role'] == 'assistant' %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'  + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}""",
    "command-r tools": """{%- macro type_of(param) -%}
{%- if param.type == 'string' -%}str{%- elif param.type in ('number', 'integer') -%}float{%- else -%}{{ param.type }}{%- endif -%}
{%- endmacro -%}
{%- macro signature(tool, indent='    ') -%}
def {{ tool.name }}({% for name, p in tool.parameters.properties.items() %}{{ name }}: {{ type_of(p) }}{% if name not in tool.parameters.required %} = {{ p.default | default('None') }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}):
{{ indent }}\"\"\"{{ tool.description | replace('"', "'") }}\"\"\"
{% endmacro -%}
{% for t in tools or [] %}{{ signature(t.function) }}
{% endfor %}
{%- for m in messages %}{{ m.role | upper }}> {{ m.content if m.content }}
{% endfor %}""",
    "openchat": """{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] + '<|end_of_turn|>'}}{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}""",
    "yi": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% endif %}{% if system_message is defined %}{{ system_message }}{% endif %}{% for message in messages %}{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ '<|im_start|>user\\n' + content + '<|im_end|>\\n<|im_start|>assistant\\n' }}{% elif message['role'] == 'assistant' %}{{ content + '<|im_end|>' + '\\n' }}{% endif %}{% endfor %}""",
    "solar": """{% for message in messages %}{% if message.role == 'system' %}{{ '### System:\n' ~ (message.content or '') }}{% elif message.role == 'user' %}{{ '### User:\n' ~ message.content }}{% else %}{{ '### ' ~ message.role | capitalize ~ ':\n' ~ message.content }}{% endif %}{{ '\n\n' }}{% if loop.last and add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}{% endfor %}""",
    "falcon": """{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{% if message['role'] == 'system' %}{{ 'System: ' + message['content'] | trim }}{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] | trim }}{% elif message['role'] == 'assistant' %}{{ 'Falcon: ' + message['content'] | trim }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\nFalcon:' }}{% endif %}""",
    "granite": """{%- set tools_system = namespace(text='') -%}
{%- if tools %}
    {%- set tools_system.text = 'Tools: ' + (tools | map(attribute='function.name') | join(', ')) -%}
{%- endif %}
{%- for message in messages if message.role in ['system', 'user', 'assistant'] %}
{%- if loop.first and tools_system.text %}<|start_of_role|>tools<|end_of_role|>{{ tools_system.text }}<|end_of_text|>
{% endif %}
<|start_of_role|>{{ message['role'] }}<|end_of_role|>{{ message['content'] }}<|end_of_text|>
{%- if loop.last and add_generation_prompt %}
{{ '<|start_of_role|>assistant' }}
            {%- if controls %}
                {{- ' ' + controls | tojson() }}
            {%- endif %}
{{- '<|end_of_role|>' }}
{%- endif %}
{%- endfor %}
""",
    "smollm 3": """{# defaults #}
{%- if enable_thinking is not defined -%}
{%- set enable_thinking = true -%}
{%- endif -%}
{%- if enable_thinking -%}
  {%- set reasoning_mode = "/think" -%}
{%- else -%}
  {%- set reasoning_mode = "/no_think" -%}
{%- endif -%}
{%- if messages and messages[0].role == "system" -%}
  {%- set system_message = messages[0].content -%}
  {%- if "/no_think" in system_message -%}
    {%- set reasoning_mode = "/no_think" -%}
  {%- endif -%}
  {%- set custom_instructions = system_message.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}
{{- "<|im_start|>system\n" -}}
{%- set today = strftime_now("%d %B %Y") -%}
{{- "## Metadata\n\n" -}}
{{- "Today Date: " ~ today ~ "\n" -}}
{{- "Reasoning Mode: " + reasoning_mode + "\n\n" -}}
{%- if custom_instructions -%}
  {{- custom_instructions + "\n\n" -}}
{%- endif -%}
{{- "<|im_end|>\n" -}}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else "" -%}
    {%- if message.role == "user" -%}
        {{ "<|im_start|>" + message.role + "\n"  + content + "<|im_end|>\n" }}
    {%- elif message.role == "assistant" -%}
        {% generation %}
        {%- if reasoning_mode == "/think" -%}
            {{ "<|im_start|>assistant\n" + content.lstrip("\n") + "<|im_end|>\n" }}
        {%- else -%}
            {{ "<|im_start|>assistant\n" + "<think>\n\n</think>\n" + content.lstrip("\n") + "<|im_end|>\n" }}
        {%- endif -%}
        {% endgeneration %}
    {%- elif message.role == "tool" -%}
    {{ "<|im_start|>" + "user\n"  + content + "<|im_end|>\n" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ "<|im_start|>assistant\n" }}
{%- endif -%}
""",
    "olmo 2": """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'assistant' %}{% if not loop.last %}{{ '<|assistant|>\n'  + message['content'] + eos_token + '\n' }}{% else %}{{ '<|assistant|>\n'  + message['content'] + eos_token }}{% endif %}{% endif %}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}""",
    "starcoder": """{{bos_token}}{{'You are exceptionally skilled.\n'}}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{ raise_exception('System messages are not allowed.')}}
    {%- else %}
        {%- if message['role'] == 'user' %}
{{'### Instruction\n' + message['content'] + '\n\n'}}
        {%- else %}
{{'### Response\n' + message['content'] + eos_token + '\n\n'}}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{{'### Response\n'}}""",
    "hermes tools": """{%- macro json_to_python_type(json_spec) %}
{%- set basic_type_map = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}
{%- if basic_type_map[json_spec.type] is defined %}
    {{- basic_type_map[json_spec.type] }}
{%- elif json_spec.type == "array" %}
    {{- "list[" +  json_to_python_type(json_spec|items) + "]"}}
{%- elif json_spec.type == "object" %}
    {%- if json_spec.additionalProperties is defined %}
        {{- "dict[str, " + json_to_python_type(json_spec.additionalProperties) + ']'}}
    {%- else %}
        {{- "dict" }}
    {%- endif %}
{%- elif json_spec.type is iterable %}
    {{- "Union[" }}
    {%- for t in json_spec.type %}
      {{- json_to_python_type({"type": t}) }}
      {%- if not loop.last %}
        {{- "," }}
    {%- endif %}
    {%- endfor %}
    {{- "]" }}
{%- else %}
    {{- "Any" }}
{%- endif %}
{%- endmacro %}
{{- bos_token }}
{%- for tool in tools or () %}
    {%- if tool.function is defined %}
        {%- set tool = tool.function %}
    {%- endif %}
    {{- '{"type": "function", "function": ' }}
    {{- '{"name": "' + tool.name + '", ' }}
    {{- '"description": "' + tool.name + '(' }}
    {%- for param_name, param_fields in tool.parameters.properties|items %}
        {{- param_name + ": " + json_to_python_type(param_fields) }}
        {%- if not loop.last %}
            {{- ", " }}
        {%- endif %}
    {%- endfor %}
    {{- ")" }}
    {%- if tool.return is defined %}
        {{- " -> " + json_to_python_type(tool.return) }}
    {%- endif %}
    {{- " - " + tool.description + "\n\n" }}
    {%- for param_name, param_fields in tool.parameters.properties|items %}
        {%- if loop.first %}
            {{- "    Args:\n" }}
        {%- endif %}
        {{- "        " + param_name + "(" + json_to_python_type(param_fields) + "): " + (param_fields.description | default('?')) | trim }}
    {%- endfor %}
    {{- '", "parameters": ' }}
    {%- if tool.parameters.properties | length == 0 %}
        {{- "{}" }}
    {%- else %}
        {{- tool.parameters|tojson }}
    {%- endif %}
    {{- "}" }}
    {%- if not loop.last %}
        {{- "\n" }}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "tool" %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}
            {{- '<|im_start|>tool\n' }}
        {%- endif %}
        {{- '<tool_response>\n' }}
        {{- message.content }}
        {%- if not loop.last %}
            {{- '\n</tool_response>\n' }}
        {%- else %}
            {{- '\n</tool_response>' }}
        {%- endif %}
        {%- if not loop.last and loop.nextitem.role != "tool" %}
            {{- '<|im_end|>' }}
        {%- elif loop.last %}
            {{- '<|im_end|>' }}
        {%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\n' + (message.content or '') + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
""",
    "gpt-oss like": """{%- macro render_typescript_type(spec, required, is_nullable=false) -%}
    {%- if spec.type == "array" -%}{{- "any[]" -}}
    {%- elif spec.enum -%}{{- '"' + spec.enum|join('" | "') + '"' -}}
    {%- elif spec.type == "object" -%}
        {%- if spec.properties -%}
            {{- "{\n" -}}
            {%- for prop_name, prop_spec in spec.properties.items() -%}
                {{- "  // " + prop_spec.description + "\n" if prop_spec.description }}{{- prop_name -}}
                {%- if prop_name not in (spec.required or []) -%}{{- "?" -}}{%- endif -%}
                {{- ": " -}}
                {{ render_typescript_type(prop_spec, spec.required or []) }}
                {%- if not loop.last -%}{{-", "-}}{%- endif -%}
            {%- endfor -%}
            {{- "\n}" -}}
        {%- else -%}{{- "object" -}}{%- endif -%}
    {%- else -%}{{- spec.type | default("any") -}}{%- if is_nullable %} | null{% endif %}{%- endif -%}
{%- endmacro -%}
{%- if tools -%}
namespace functions {
{% for tool in tools %}
    {%- set tool = tool.function %}
// {{ tool.description }}
type {{ tool.name }} = (_: {{ render_typescript_type(tool.parameters, []) }}) => any;
{% endfor %}
} // namespace functions
{%- endif -%}
{%- for message in messages -%}
<|start|>{{ message.role }}<|message|>{{ message.content }}{{ "<|return|>" if loop.last and not add_generation_prompt else "<|end|>" }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}
""",
    "two loops and a break": """{% set ns = namespace(found=none, n=0) %}
{% for message in messages | reverse %}
    {% if message.role == 'user' %}
        {% set ns.found = message %}
        {% break %}
    {% endif %}
    {% set ns.n = ns.n + 1 %}
    {% continue %}
    never
{% else %}
none
{% endfor %}
{{ ns.n }}: {{ ns.found.content if ns.found else 'nobody' }}
{%+ for m in messages if m.role == 'user' +%}
  {{ loop.index }}/{{ loop.length }} {{ loop.cycle('a', 'b') }} {{ loop.revindex0 }}
{% endfor -%}
""",
    "blocks and calls": """{% macro turn(role, end='<|end|>') %}<|{{ role }}|>{{ caller() }}{{ end }}{% endmacro %}
{% for m in messages %}{% call turn(m.role) %}{{ m.content }}{% endcall %}
{% endfor %}
{% set footer %}
  {{ messages | length }} messages{# counted #}
{% endset %}
{{ footer | trim | upper }}
{% filter indent(2) %}
one
two
{% endfilter %}
{% with a = 1, b = [1, 2] %}{{ a + b[1] }}{% endwith %}
{% raw %}{{ not this }}{% endraw %}
""",
    "roles table": """{% set roles = {'user': 'U', 'assistant': 'A', 'system': 'S'} %}
{%- for m in messages -%}
{{ roles.get(m.role, '?') }}{{ '%' }}{{ loop.index }} {% if m.content is string %}{{ m.content[:5] ~ '…' if m.content | length > 5 else m.content }}{% else %}{{ m.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | list }}{% endif %}

{% endfor -%}
{{ roles | dictsort | map('last') | join('/') }}
{{ roles.items() | list }} {{ roles.keys() | list | sort(reverse=true) }} {{ messages | map(attribute='role') | unique | list }}
""",
}
assert len(FAMILIES) >= 30


# ---------------------------------------------------------------- random templates

class Generator:
    """Templates by a grammar: mostly meaningful ones, over a fixed set of variables."""

    VARIABLES = {"s": " Hello World ", "t": "a,b,,c", "u": "ÄÖ ß ǆ\n\tx", "n": 3, "m": -7, "f": 2.5, "b": True, "z": None,
                 "l": [3, 1, 2], "w": ["b", "A", "c", "a"], "e": [], "d": {"x": 1, "y": "two", "items": 3},
                 "o": [{"k": "p", "v": 1}, {"k": "q", "v": 2}, {"k": "p", "v": None}, {"v": 4}], "nested": {"a": {"b": [1, {"c": "deep"}]}}}

    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *options):
        return self.r.choice(options)

    def literal(self):
        return self.pick("0", "1", "2", "-1", "10", "1.5", "0.1", "'a'", "'b'", '"x y"', "''", "'\\n'", "'p'", "true", "false", "none",
                         "[]", "[1, 2]", "['a', 'b']", "{}", "{'a': 1}", "(1, 2)", "1e3", "'\\u00e9'", "100000000000000000000.0")

    def name(self):
        return self.pick("s", "t", "u", "n", "m", "f", "b", "z", "l", "w", "e", "d", "o", "nested", "missing", "x", "y", "i")

    def text(self, depth):
        base = self.pick("s", "t", "u", "'abcABC'", "'a-b c'", "'x'")
        for _ in range(self.r.randrange(3)):
            base += self.pick(".strip()", ".upper()", ".lower()", ".title()", ".replace('a', 'bb')", ".lstrip()", ".rstrip('dc ')", "[1:]",
                              "[:-1]", "[::-1]", "[::2]", ".capitalize()", ".split(',') | join('+')", " | trim", " | upper", " | replace('l', 'L', 1)",
                              " | title", " | capitalize", " | indent(3)", ".center(20)", ".zfill(9)", ".removeprefix('a')", ".rjust(12, '*')",
                              ".split() | last", ".partition(',')[2]", ".rsplit(',', 1) | first", ".splitlines() | join('/')", " | truncate(6)"
                              ) if "|" not in base else self.pick(" | trim", " | upper", " | lower", " | string", " | reverse")
        return "(" + base + ")"

    def sequence(self, depth):
        base = self.pick("l", "w", "e", "o", "[1, 2, 3]", "range(4)", "range(1, 10, 3)", "t.split(',')", "d", "'xyz'", "d.values()", "(1, 'a')")
        for _ in range(self.r.randrange(3)):
            base += self.pick(" | list", " | reverse | list", " | sort", " | unique | list", " | map('string') | list", " | select | list",
                              " | reject('none') | list", " | selectattr('v') | list", " | map(attribute='k') | list", " | map(attribute='k', default='-') | list",
                              " | rejectattr('k', 'equalto', 'p') | list", " | batch(2) | list", " | sort(reverse=true)", " | selectattr('k', 'defined') | list",
                              " | sort(attribute='k')", " | map('upper') | list", " | select('odd') | list", " | select('gt', 1) | list")
        return "(" + base + ")"

    def expression(self, depth=3):
        if depth <= 0:
            return self.pick(self.literal(), self.name())
        e = lambda: self.expression(depth - 1)  # noqa: E731
        k = self.r.randrange(24)
        if k == 0:
            return f"{e()} {self.pick('+', '-', '*', '/', '//', '%', '**')} {e()}"
        if k == 1:
            return f"{e()} ~ {e()}"
        if k == 2:
            return f"({e()} {self.pick('==', '!=', '<', '>', '<=', '>=')} {e()})"
        if k == 3:
            return f"{e()} {self.pick('in', 'not in')} {self.sequence(depth)}"
        if k == 4:
            return f"({e()} {self.pick('and', 'or')} {e()})"
        if k == 5:
            return f"(not {e()})"
        if k == 6:
            return f"({e()} if {e()} else {e()})"
        if k == 7:
            return f"({e()} if {e()})"
        if k == 8:
            return f"({e()} is {self.pick('', 'not ')}{self.pick('defined', 'none', 'string', 'mapping', 'iterable', 'sequence', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'undefined', 'callable')})"
        if k == 9:
            return f"({e()} is {self.pick('divisibleby 3', 'equalto(1)', 'in [1, 2]', 'sameas none', 'odd', 'even', 'upper', 'lower', 'gt 1', 'eq n')})"
        if k == 10:
            return self.sequence(depth) + self.pick(" | length", " | first", " | last", " | join(', ')", " | join", " | tojson", " | sum", " | min", " | max", "[0]",
                                                    "[-1]", "[1:]", "[n]", " | count", " | string", " | join('|', attribute='k')", " | list")
        if k in (11, 12, 13):
            return self.text(depth)
        if k == 14:
            return f"d.{self.pick('x', 'y', 'items', 'zz', 'get')}" + self.pick("", "", "('x')", "('q', 5)", "()")
        if k == 15:
            return f"d[{self.pick(chr(39) + 'x' + chr(39), chr(39) + 'items' + chr(39), 'n', chr(39) + 'zz' + chr(39))}]"
        if k == 16:
            return self.pick("nested.a.b[1].c", "nested['a']['b'][0]", "nested.a.b | length", "nested.q", "nested.q.r", "o[0].k", "o[9]", "o | map(attribute='v') | list",
                             "o[1:] | selectattr('k', 'equalto', 'p') | list | tojson", "nested | tojson(indent=2)", "d | items | list", "d | dictsort", "d | length")
        if k == 17:
            return f"({e()}) | {self.pick('default(1)', 'default(2, true)', 'd', 'string', 'int', 'float', 'int(5)', 'abs', 'round', 'round(1)', 'tojson', 'length', 'list', 'upper', 'round(1, chr)'.replace('chr', chr(39) + 'floor' + chr(39)))}"
        if k == 18:
            return f"[{e()}, {e()}]"
        if k == 19:
            return "{" + f"'a': {e()}, 'b': {e()}" + "}"
        if k == 20:
            return f"-{self.name()}"
        if k == 21:
            return f"{self.name()} {self.pick('<', '<=')} {self.name()} {self.pick('<', '==')} {self.literal()}"
        if k == 22:
            return self.text(depth) + self.pick(".startswith('a')", ".endswith(('d', 'c'))", ".find('l')", ".count('a')", ".split()", ".isdigit()", ".index('a')")
        return self.literal()

    def tag(self, inner):
        return "{%" + self.pick("", "", "", "-", "+") + " " + inner + " " + self.pick("", "", "", "-", "+" if "raw" not in inner else "") + "%}"

    def data(self):
        return self.pick("", " ", "\n", "text", "\n\n", "  \n", "\n  ", "a\n  b", "\t", "x ", "{ }", "é", "#")

    def statement(self, depth):
        k = self.r.randrange(14) if depth > 0 else self.r.randrange(5)
        body = lambda: self.body(depth - 1)  # noqa: E731
        if k < 4:
            return "{{" + self.pick("", "-") + " " + self.expression() + " " + self.pick("", "-") + "}}"
        if k == 4:
            return "{#" + self.pick("", "-", "+") + " remark " + self.pick("", "-") + "#}"
        if k in (5, 6):
            out = self.tag("if " + self.expression(2)) + body()
            if self.r.random() < 0.3:
                out += self.tag("elif " + self.expression(2)) + body()
            if self.r.random() < 0.5:
                out += self.tag("else") + body()
            return out + self.tag("endif")
        if k in (7, 8):
            target = self.pick("i", "i", "x", "k, v")
            source = self.pick("d.items()", "d | items", "[(1, 2), (3, 4)]") if "," in target else self.sequence(depth)
            condition = self.pick("", "", f" if {target.split(',')[0]}", f" if {self.expression(1)}")
            extra = self.pick("", "{{ loop.index }}", "{{ loop.last }}", "{{ loop.previtem }}", "{{ loop.revindex }}/{{ loop.length }}",
                              self.tag("if loop.index0 == 1") + self.tag(self.pick("break", "continue")) + self.tag("endif"), "{{ loop.nextitem is defined }}",
                              "{{ loop.changed(i) }}", "{{ " + target.split(",")[0] + " }}")
            out = self.tag(f"for {target} in {source}{condition}") + extra + body()
            if self.r.random() < 0.3:
                out += self.tag("else") + body()
            return out + self.tag("endfor")
        if k == 9:
            return self.tag(f"set {self.pick('x', 'y', 'n', 'x, y')} = {self.expression(2)}")
        if k == 10:
            return self.tag("set x" + self.pick("", " | upper", " | trim")) + body() + self.tag("endset")
        if k == 11:
            return self.tag("set ns = namespace(c=0, t='')") + self.tag(f"for i in {self.sequence(1)}") + self.tag("set ns.c = ns.c + 1") + \
                self.tag("set ns.t = ns.t ~ i") + self.tag("endfor") + "{{ ns.c }}{{ ns.t }}"
        if k == 12:
            return self.tag("macro f(p, q=1, r=n)") + "<{{ p }}|{{ q }}|{{ r }}>" + body() + self.tag("endmacro") + \
                "{{ f(" + self.pick("", "1", "1, 2", "q=5, p=s", "l, r=d", "1, 2, 3, 4", "zz=1") + ") }}"
        return self.pick(self.tag("filter upper") + body() + self.tag("endfilter"), self.tag("with x = 5, y = n") + body() + self.tag("endwith"),
                         self.tag("raw") + "{{ x }}{% if %}" + self.tag("endraw"), self.tag("generation") + body() + self.tag("endgeneration"))

    def body(self, depth):
        return "".join(self.data() + self.statement(depth) for _ in range(self.r.randrange(1, 4))) + self.data()

    def template(self):
        return self.body(2)
