_base_ = "mine.py"
domain = dict(name="mine_dusk", title="Rail at dusk", data_root="mine_dusk")
