"""Makes a tiny random Mistral with a sliding window, bf16, and its log-probabilities on a prompt in float64, with
nothing but numpy and the forward pass of golden/check_tiny.py.   usage: make.py (in testdata/window)"""
import json,os,struct,numpy as np
src=open('../golden/check_tiny.py').read()
exec(src[:src.index('import os\nfor root')])
g=np.random.default_rng(7)
c=dict(architectures=['MistralForCausalLM'],model_type='mistral',hidden_size=64,intermediate_size=96,num_hidden_layers=2,num_attention_heads=4,num_key_value_heads=1,head_dim=16,vocab_size=513,max_position_embeddings=256,rms_norm_eps=1e-5,hidden_act='silu',rope_parameters=dict(rope_theta=10000.0,rope_type='default'),sliding_window=16,tie_word_embeddings=False,bos_token_id=1,eos_token_id=2,dtype='bfloat16')
os.makedirs('model',exist_ok=True)
json.dump(c,open('model/config.json','w'),indent=1)
H,I,V=64,96,513
T={'model.embed_tokens.weight':(V,H),'model.norm.weight':(H,),'lm_head.weight':(V,H)}
for i in range(2):
    p=f'model.layers.{i}.'
    T.update({p+'input_layernorm.weight':(H,),p+'post_attention_layernorm.weight':(H,),p+'self_attn.q_proj.weight':(64,H),p+'self_attn.k_proj.weight':(16,H),p+'self_attn.v_proj.weight':(16,H),p+'self_attn.o_proj.weight':(H,64),p+'mlp.gate_proj.weight':(I,H),p+'mlp.up_proj.weight':(I,H),p+'mlp.down_proj.weight':(H,I)})
h,b={},b''
for n,s in sorted(T.items()):
    x=(1+0.2*g.standard_normal(s) if len(s)==1 else g.standard_normal(s)*(1 if 'embed' in n else 2/s[-1]**0.5)).astype(np.float32)
    d=(x.view(np.uint32)>>16).astype(np.uint16).tobytes()
    h[n]=dict(dtype='BF16',shape=list(s),data_offsets=[len(b),len(b)+len(d)]);b+=d
j=json.dumps(h).encode();j+=b' '*(-len(j)%8)
open('model/model.safetensors','wb').write(struct.pack('<Q',len(j))+j+b)
out=[]
for n in (1,15,16,17,33,100):
    ids=[int(t) for t in g.integers(3,V,n)]
    y=fwd('model',ids);m=y.max(-1,keepdims=True);l=y-m-np.log(np.exp(y-m).sum(-1,keepdims=True))
    out.append(dict(ids=ids,logprobs=[round(float(l[k,ids[k+1]]),7) for k in range(n-1)],last=int(y[-1].argmax()),last_logprob=round(float(l[-1].max()),7)))
json.dump(out,open('expected.json','w'))
